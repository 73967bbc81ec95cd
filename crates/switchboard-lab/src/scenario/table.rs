//! [`SCENARIOS`]: the files of `scenarios/`, in order; a test compares table and folder.

macro_rules! scenarios {
    ($($id:literal)*) => {
        /// Name and text of every scenario file.
        pub const SCENARIOS: &[(&str, &str)] =
            &[$((concat!($id, ".toml"), include_str!(concat!("../../../../scenarios/", $id, ".toml")))),*];
    };
}

scenarios! {
    "00-no-fault"
    "01-no-server"
    "02-host-down-lan"
    "02-host-down"
    "03-active-ctrl-c"
    "04-inactive-ctrl-c"
    "05-active-host-crash"
    "06-idle-host-crash"
    "07-routers-down"
    "08-keepalive"
    "09-crash-reboot"
    "10-second-copy"
    "11-low-port"
    "12-fast-sender-udp"
    "12-fast-sender"
    "13-accept-aborted"
    "13-reset-before-accept"
    "14-child-killed"
    "15-shutdown"
    "16-unreachable-later"
    "16-unreachable"
    "17-zombies"
    "18-interrupted"
    "19-short-io"
    "20-backlog"
    "21-byte-order"
    "22-half-close"
    "23-close-unread"
    "24-reset-on-close"
    "25-time-wait"
    "26-udp-refused"
    "27-several-addresses"
    "28-no-descriptors"
    "29-simultaneous"
    "30-silent-peer"
    "31-bad-line"
    "32-mtu-black-hole"
    "32-mtu"
    "33-destroyed"
}
