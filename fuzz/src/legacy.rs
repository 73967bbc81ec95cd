//! The files of inetd and xinetd: whatever is in them, nothing panics, everything is said in words that a terminal can
//! bear, and what comes out is a configuration.

/// Any text in each dialect of inetd.conf; the first byte chooses it.
pub fn inetd_conf(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let dialects = ["openbsd", "freebsd", "netbsd", "gnu", "xinetd-compat"];
    // NetBSD's dialect can name other files: those of this machine are nobody's input.
    if rest.windows(8).any(|bytes| bytes == b".include") {
        return;
    }
    converts(dialects[usize::from(*first) % dialects.len()], rest);
}

/// Any text as xinetd.conf.
pub fn xinetd_conf(data: &[u8]) {
    converts("xinetd", data);
}

fn converts(language: &str, data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (toml, said) = switchboard::convert_configuration(language, &text);
    assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{language} {text:?}: {said:?}");
    // Users and programs of the text need not exist; but it is TOML, and has only keys and values that there are.
    if let Err(complaints) = switchboard::check_configuration(&toml) {
        for wrong in ["this is not TOML", "is not a key of", "is not what belongs here"] {
            assert!(!complaints.contains(wrong), "{language} {text:?}:\n{toml}\n{complaints}");
        }
    }
}
