//! The watcher against real programs: what it records, what it changes, and that it leaves everything else alone.

mod harness;

use harness::{PATIENCE, skip};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use switchboard_lab::host::{Network, Program};
use switchboard_lab::record::{Call, Change, Disposition, Event, Returned, Signal, What};
use switchboard_lab::watch::{Ended, Settings, Watched, Watcher, name};

/// All that a program did, and how it ended.
struct Seen {
    events: Vec<Event>,
    ended: Ended,
}

/// Runs `command` to its end under watch.
fn watch(command: Command, settings: Settings) -> Seen {
    let (watched, events) = begin(command, settings);
    let ended = watched.wait_for_all(PATIENCE).unwrap_or_else(|| {
        watched.kill();
        let last = events.lock().expect("no panic").iter().rev().take(5).cloned().collect::<Vec<_>>();
        panic!("the program did not end; the last events: {last:?}");
    });
    let events = std::mem::take(&mut *events.lock().expect("no panic"));
    Seen { events, ended }
}

type Events = Arc<Mutex<Vec<Event>>>;

fn begin(mut command: Command, settings: Settings) -> (Watched, Events) {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let events = Events::default();
    let sink = Arc::clone(&events);
    let push = move |event| sink.lock().expect("no panic").push(event);
    let watched = Watcher::new(settings, push).spawn(command);
    (watched.expect("the program can be watched"), events)
}

/// Waits until `wanted` is among the events.
fn wait_for(watched: &Watched, events: &Events, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        if let Some(event) = events.lock().expect("no panic").iter().find(|event| wanted(event)) {
            return event.clone();
        }
        if std::time::Instant::now() > until {
            watched.kill();
            panic!("no event: {what}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Seen {
    fn all(&self) -> impl Iterator<Item = &Call> {
        self.events.iter().filter_map(|event| match &event.what {
            What::Call(call) => Some(call),
            _ => None,
        })
    }

    fn calls<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Call> {
        self.all().filter(move |call| call.name == name)
    }

    /// The first call with this name.
    #[track_caller]
    fn call(&self, name: &str) -> &Call {
        let names = || self.all().map(|call| &*call.name).collect::<Vec<_>>();
        self.all().find(|call| call.name == name).unwrap_or_else(|| panic!("no {name} among {:?}", names()))
    }

    fn signals(&self) -> impl Iterator<Item = &Signal> {
        self.events.iter().filter_map(|event| match &event.what {
            What::Signal(signal) => Some(signal),
            _ => None,
        })
    }

    fn changes(&self) -> impl Iterator<Item = (i32, &Change)> {
        self.events.iter().filter_map(|event| match &event.what {
            What::Process(process) => Some((process.pid, &process.change)),
            _ => None,
        })
    }
}

fn argument<'a>(call: &'a Call, name: &str) -> &'a str {
    call.arguments.iter().find(|(its, _)| its == name).map_or("(none)", |(_, value)| value)
}

fn errno(number: i32) -> Option<Returned> {
    Some(Returned::Errno(number))
}

fn value(number: i64) -> Option<Returned> {
    Some(Returned::Value(number))
}

/// Python itself, and not a script that looks for it.
fn python(script: &str) -> Option<Command> {
    let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let path = found.ok().filter(|found| found.status.success());
    let Some(path) = path.and_then(|found| String::from_utf8(found.stdout).ok()) else {
        skip("a Python program", "there is no python3");
        return None;
    };
    let mut command = Command::new(path.trim());
    command.args(["-I", "-S", "-c", script]);
    Some(command)
}

/// A C program, statically linked where that is possible; removed with the value.
struct Compiled(PathBuf);

impl Drop for Compiled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn compile(source: &str) -> Option<Compiled> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("switchboard-watch-{}-{count}", std::process::id()));
    let compiled = Compiled(path.clone());
    let cc = |arguments: &[&str]| {
        let mut cc = Command::new("cc")
            .args(arguments)
            .args(["-xc", "-", "-pthread", "-o"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        cc.stdin.take()?.write_all(source.as_bytes()).ok()?;
        cc.wait().ok().filter(std::process::ExitStatus::success)
    };
    if cc(&["-static"]).or_else(|| cc(&[])).is_none() {
        skip("a C program", "there is no C compiler");
        return None;
    }
    Some(compiled)
}

const HEADERS: &str = "#define _GNU_SOURCE\n#include <stdio.h>\n#include <string.h>\n#include <unistd.h>\n\
    #include <stdlib.h>\n#include <signal.h>\n#include <errno.h>\n#include <pthread.h>\n#include <sys/socket.h>\n\
    #include <sys/wait.h>\n#include <sys/uio.h>\n#include <netinet/in.h>\n#include <arpa/inet.h>\n#include <poll.h>\n\
    #include <sys/time.h>\n#include <fcntl.h>\n";

fn c(body: &str) -> Option<Compiled> {
    compile(&format!("{HEADERS}{body}"))
}

const CONVERSATION: &str = "\
import socket
l = socket.socket()
l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
l.bind(('127.0.0.1', 0)); l.listen(3)
c = socket.socket(); c.connect(l.getsockname()); s, _ = l.accept()
c.sendall(b'hello\\n'); s.recv(100); c.shutdown(socket.SHUT_WR); s.recv(100)
";

#[test]
fn a_conversation_is_decoded() {
    let Some(command) = python(CONVERSATION) else { return };
    let seen = watch(command, Settings::default());
    assert_eq!(seen.ended, Ended::Exited(0));
    let option = seen.call("setsockopt");
    let shown = ["level", "option", "value"].map(|name| argument(option, name));
    assert_eq!(shown, ["SOL_SOCKET", "SO_REUSEADDR", "1"]);
    assert_eq!(argument(seen.call("bind"), "address"), "127.0.0.1:0");
    let listener = seen.call("listen");
    let connect = seen.call("connect");
    let accept = seen.all().find(|call| call.name.starts_with("accept")).expect("an accept");
    assert_eq!((accept.fd, accept.socket), (listener.fd, listener.socket));
    assert_eq!(connect.result, value(0));
    assert!(argument(accept, "address").starts_with("127.0.0.1:"), "{accept:?}");
    let sent = seen.call("sendto");
    assert_eq!(
        (argument(sent, "data"), &*sent.data, sent.result),
        ("\"hello\\n\"", &b"hello\n"[..], value(6))
    );
    assert_eq!(sent.socket, connect.socket);
    let received: Vec<&Call> = seen.calls("recvfrom").collect();
    assert_eq!((&*received[0].data, received[0].result), (&b"hello\n"[..], value(6)));
    assert_eq!((&*received[1].data, received[1].result), (&b""[..], value(0)));
    assert_eq!(argument(seen.call("shutdown"), "how"), "SHUT_WR");
    // The interpreter reads many files; none of that is here.
    assert!(seen.calls("read").all(|call| call.socket.is_some()));
    let changes: Vec<&Change> = seen.changes().map(|(_, change)| change).collect();
    assert!(matches!(changes[0], Change::Started { thread: false, .. }), "{changes:?}");
    assert!(matches!(changes[1], Change::Executed { command } if command.len() == 5), "{changes:?}");
    assert!(matches!(changes.last(), Some(Change::Exited { status: 0, .. })), "{changes:?}");
}

#[test]
fn every_entry_has_its_return_and_time_goes_forward() {
    let Some(command) = python(CONVERSATION) else { return };
    let seen = watch(command, Settings::default());
    let mut open = std::collections::BTreeMap::new();
    let mut last = 0;
    for event in &seen.events {
        assert!(event.at_ns >= last, "{event:?} comes after {last}");
        last = event.at_ns;
        match &event.what {
            What::CallEntered(call) => assert!(open.insert(call.serial, &call.name).is_none()),
            What::Call(call) => {
                open.remove(&call.serial);
            }
            _ => {}
        }
    }
    assert_eq!(open.into_values().collect::<Vec<_>>(), ["exit_group"], "it never returns");
}

#[test]
fn a_blocked_call_is_seen_while_it_blocks() {
    let Some(program) = c("int main(){int f[2]; char b[9]; \
        socketpair(AF_UNIX,SOCK_STREAM,0,f); return read(f[0],b,9);}")
    else {
        return;
    };
    let (watched, events) = begin(Command::new(&program.0), Settings::default());
    let entered = wait_for(
        &watched,
        &events,
        "a read that blocks",
        |event| matches!(&event.what, What::CallEntered(call) if call.name == "read"),
    );
    let What::CallEntered(call) = entered.what else { unreachable!() };
    assert!(call.result.is_none() && call.socket.is_some());
    let pid = watched.pid().expect("it runs");
    let Ok(Change::Sampled { blocked_in, .. }) = switchboard_lab::watch::sample(pid) else {
        panic!("no sample")
    };
    // It may not have reached its sleep yet; when it has, it is this call.
    assert!(blocked_in.is_none_or(|(name, fd)| (&*name, Some(fd as i32)) == ("read", call.fd)));
    watched.kill();
    assert_eq!(watched.wait_for_all(PATIENCE), Some(Ended::Killed(libc::SIGKILL)));
    let events = events.lock().expect("no panic");
    let Some(What::Process(last)) = events.last().map(|event| &event.what) else { panic!("{events:?}") };
    assert!(matches!(last.change, Change::Killed { signal: libc::SIGKILL, .. }));
}

#[test]
fn death_by_sigpipe_is_told_with_what_was_open() {
    let Some(program) = c("int main(){int f[2]; socketpair(AF_UNIX,SOCK_STREAM,0,f); close(f[1]); \
        write(f[0],\"x\",1); return 0;}")
    else {
        return;
    };
    let seen = watch(Command::new(&program.0), Settings::default());
    assert_eq!(seen.ended, Ended::Killed(libc::SIGPIPE));
    assert_eq!(seen.call("write").result, errno(libc::EPIPE));
    let signal = seen.signals().next().expect("a signal");
    assert_eq!((signal.signal, signal.disposition), (libc::SIGPIPE, Disposition::Default));
    assert_eq!(signal.sender, Some(signal.pid), "the kernel sends it in the name of the writer");
    let Some((_, Change::Killed { signal: 13, open_sockets, .. })) = seen.changes().last() else {
        panic!("{:?}", seen.changes().collect::<Vec<_>>());
    };
    let number = seen.call("write").fd.expect("a descriptor");
    assert_eq!(open_sockets, &[format!("{number} unix")]);
}

#[test]
fn sockets_left_open_are_listed_with_their_states() {
    let Some(command) = python(&format!("{CONVERSATION}import os; os._exit(3)")) else { return };
    let seen = watch(command, Settings::default());
    assert_eq!(seen.ended, Ended::Exited(3));
    let Some((_, Change::Exited { status: 3, open_sockets })) = seen.changes().last() else { panic!() };
    let states: Vec<&str> = open_sockets.iter().filter_map(|socket| socket.split(' ').next_back()).collect();
    assert_eq!((states[0], states[2]), ("LISTEN", "CLOSE_WAIT"), "{open_sockets:?}");
    // 1 until the FIN is acknowledged, which may wait for 40 ms.
    assert!(states[1].starts_with("FIN_WAIT"), "{open_sockets:?}");
    assert!(open_sockets[1].contains(" tcp 127.0.0.1:"), "{open_sockets:?}");
}

/// Sleeps in `recv` until a timer has rung; `FLAGS` decides what becomes of the call. It rings more often than once or
/// twice, since it may do so before the call has begun.
fn ringing(flags: &str) -> Option<Compiled> {
    c(&format!(
        "static int f[2], n; static void ring(int s){{ if(++n==20) send(f[1],\"x\",1,0); }}\n\
         int main(){{ struct sigaction a={{.sa_handler=ring,.sa_flags={flags}}}; char b[9]; \
         struct itimerval t={{{{0,20000}},{{0,20000}}}}; socketpair(AF_UNIX,SOCK_STREAM,0,f); \
         sigaction(SIGALRM,&a,0); setitimer(ITIMER_REAL,&t,0); int got=recv(f[0],b,9,0); return got!=1; }}"
    ))
}

#[test]
fn a_call_that_a_signal_interrupts_fails_with_eintr() {
    let Some(program) = ringing("0") else { return };
    let seen = watch(Command::new(&program.0), Settings::default());
    let call = seen.call("recvfrom");
    assert_eq!((call.result, call.restarted), (errno(libc::EINTR), false));
    let signal = seen.signals().next().expect("a signal");
    assert_eq!(
        (signal.signal, signal.disposition, signal.sender),
        (libc::SIGALRM, Disposition::Handled, None)
    );
    assert_eq!(seen.ended, Ended::Exited(1));
}

#[test]
fn a_call_that_is_started_again_is_one_call() {
    let Some(program) = ringing("SA_RESTART") else { return };
    let seen = watch(Command::new(&program.0), Settings::default());
    assert_eq!(seen.ended, Ended::Exited(0));
    let calls: Vec<&Call> = seen.calls("recvfrom").collect();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!((calls[0].result, calls[0].restarted), (value(1), true));
    assert!(calls[0].took_ns >= 1_000_000, "it slept until the timer had rung often enough: {calls:?}");
    // What the handler does while the call waits is recorded as well.
    assert_eq!(seen.call("sendto").result, value(1));
    assert!(seen.signals().filter(|signal| signal.signal == libc::SIGALRM).count() >= 2);
}

#[test]
fn children_and_what_became_of_them() {
    let Some(program) =
        c("int main(){ int s; if(!fork()) _exit(7); wait(&s); if(!fork()) raise(SIGKILL); wait(&s); \
        if(!fork()) pause(); sleep(0); kill(0, 0); return 0; }")
    else {
        return;
    };
    let (watched, events) = begin(Command::new(&program.0), Settings::default());
    // The third child outlives its parent, and is still watched.
    assert_eq!(watched.wait(PATIENCE), Some(Ended::Exited(0)));
    let pause = |event: &Event| matches!(&event.what, What::CallEntered(call) if call.name.ends_with("pause") || call.name == "ppoll");
    wait_for(&watched, &events, "the child that waits", pause);
    watched.kill();
    assert_eq!(watched.wait_for_all(PATIENCE), Some(Ended::Exited(0)));
    let events = std::mem::take(&mut *events.lock().expect("no panic"));
    let seen = Seen { events, ended: Ended::Exited(0) };
    let waited: Vec<&str> = seen.calls("wait4").map(|call| argument(call, "status")).collect();
    assert_eq!(waited, ["exited 7", "killed by SIGKILL"]);
    let began = seen.changes().filter(|(_, change)| matches!(change, Change::Started { .. })).count();
    let reaped: Vec<i32> =
        seen.changes().filter(|(_, change)| **change == Change::Reaped).map(|(pid, _)| pid).collect();
    assert_eq!((began, reaped.len()), (4, 2));
    assert!(
        seen.changes()
            .any(|(pid, change)| { pid == reaped[0] && matches!(change, Change::Exited { status: 7, .. }) })
    );
}

#[test]
fn children_of_a_parent_that_ignores_their_end_leave_no_zombies() {
    let Some(program) = c("int main(){ int s; signal(SIGCHLD,SIG_IGN); if(!fork()) _exit(7); \
        return wait(&s)!=-1 || errno!=ECHILD; }")
    else {
        return;
    };
    let seen = watch(Command::new(&program.0), Settings::default());
    assert_eq!(seen.ended, Ended::Exited(0));
    assert_eq!(seen.changes().filter(|(_, change)| **change == Change::Reaped).count(), 1);
}

#[test]
fn threads_are_watched_each() {
    let Some(program) =
        c("static int f[2]; static void *run(void *x){ char b[4]; return (void*)(long)recv(f[0],b,4,0); }\n\
        int main(){ pthread_t t[4]; socketpair(AF_UNIX,SOCK_DGRAM,0,f); \
        for(int i=0;i<4;i++) pthread_create(&t[i],0,run,0); for(int i=0;i<4;i++) send(f[1],\"x\",1,0); \
        for(int i=0;i<4;i++) pthread_join(t[i],0); return 0; }")
    else {
        return;
    };
    let seen = watch(Command::new(&program.0), Settings::default());
    assert_eq!(seen.ended, Ended::Exited(0));
    let tids: std::collections::BTreeSet<i32> = seen.calls("recvfrom").map(|call| call.tid).collect();
    let pids: std::collections::BTreeSet<i32> = seen.all().map(|call| call.pid).collect();
    assert_eq!((tids.len(), pids.len()), (4, 1));
    let threads = seen.changes().filter(|(_, change)| matches!(change, Change::Started { thread: true, .. }));
    assert_eq!(threads.count(), 4);
}

#[test]
fn a_thread_that_becomes_another_program_takes_over() {
    let Some(program) =
        c("static void *run(void *x){ execl(\"/bin/sh\",\"sh\",\"-c\",\"exit 5\",(char*)0); return 0; }\n\
        int main(){ pthread_t t; pthread_create(&t,0,run,0); for(;;) pause(); }")
    else {
        return;
    };
    let seen = watch(Command::new(&program.0), Settings::default());
    assert_eq!(seen.ended, Ended::Exited(5));
    let executed = seen.changes().filter(|(_, change)| matches!(change, Change::Executed { .. })).count();
    assert_eq!(executed, 2);
}

fn with_rules(rules: &[&str]) -> Settings {
    let rules = rules.iter().map(|rule| rule.parse().unwrap_or_else(|error| panic!("{error}"))).collect();
    Settings { rules, ..Settings::default() }
}

#[test]
fn reads_and_writes_fall_short_and_nothing_is_lost() {
    // Answers with 0 only if all 11 bytes came in the right order, however they were cut.
    let Some(program) = c("int main(){ int f[2]; char b[64]; int n=0; socketpair(AF_UNIX,SOCK_STREAM,0,f); \
        struct iovec v[2]={{\"hello \",6},{\"world\",5}}; struct iovec w[2]; \
        for(int left=11; left>0;){ int k=11-left; w[0].iov_base=k<6?(char*)v[0].iov_base+k:0; w[0].iov_len=k<6?6-k:0; \
        w[1].iov_base=(char*)v[1].iov_base+(k>6?k-6:0); w[1].iov_len=k>6?11-k:5; \
        size_t a=w[0].iov_len,c=w[1].iov_len; int r=writev(f[0],w,2); \
        if(r<=0||a!=w[0].iov_len||c!=w[1].iov_len) return 2; left-=r; } \
        while(n<11){ int r=read(f[1],b+n,sizeof b-n); if(r<=0) return 3; n+=r; } \
        return memcmp(b,\"hello world\",11)!=0; }")
    else {
        return;
    };
    let seen = watch(Command::new(&program.0), with_rules(&["send:short=4", "recv:short=3:nth=2.."]));
    assert_eq!(seen.ended, Ended::Exited(0), "{:?}", seen.all().collect::<Vec<_>>());
    let moved = |name| seen.calls(name).map(|call| call.result).collect::<Vec<_>>();
    assert_eq!(moved("writev"), [value(4), value(4), value(3)]);
    assert_eq!(moved("read"), [value(11)], "the first read is left alone");
    assert_eq!(seen.call("writev").injected.as_deref(), Some("first 4 of 11 bytes"));
    let seen = watch(Command::new(&program.0), with_rules(&["recv:short=3"]));
    let moved = seen.calls("read").map(|call| call.result).collect::<Vec<_>>();
    assert_eq!((seen.ended, moved), (Ended::Exited(0), vec![value(3), value(3), value(3), value(2)]));
}

#[test]
fn the_nth_accept_fails_as_it_never_does_on_linux() {
    let script = "\
import socket
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(3)
c = socket.socket(); c.connect(l.getsockname())
try: l.accept()
except ConnectionAbortedError: pass
else: raise SystemExit(1)
s, _ = l.accept()
";
    let Some(command) = python(script) else { return };
    let seen = watch(command, with_rules(&["accept:errno=ECONNABORTED:nth=1"]));
    assert_eq!(seen.ended, Ended::Exited(0));
    let accepts: Vec<&Call> = seen.all().filter(|call| call.name.starts_with("accept")).collect();
    assert_eq!(accepts[0].result, errno(libc::ECONNABORTED));
    assert_eq!(accepts[0].injected.as_deref(), Some("ECONNABORTED injected"));
    assert!(matches!(accepts[1].result, Some(Returned::Value(_))) && accepts[1].injected.is_none());
}

#[test]
fn options_are_set_from_outside_on_sockets_that_they_are_for() {
    let script = "\
import socket
l = socket.socket(); l.bind(('127.0.0.1', 0)); l.listen(3)
c = socket.socket(); c.connect(l.getsockname()); s, _ = l.accept()
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
want = (5000, 1)
for x in (c, s):
    got = (x.getsockopt(socket.IPPROTO_TCP, 18), x.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
    if got != want: raise SystemExit(str(got))
";
    let Some(command) = python(script) else { return };
    let mut settings = Settings::default();
    settings.options.set("user-timeout", "5s").expect("an option");
    settings.options.set("keepalive", "on").expect("an option");
    let seen = watch(command, settings);
    assert_eq!(seen.ended, Ended::Exited(0));
    let set: Vec<Option<&str>> = seen.calls("socket").map(|call| call.injected.as_deref()).collect();
    let tcp = Some("set user-timeout=5000ms, keepalive=on");
    assert_eq!(set, [tcp, tcp, Some("no option is for udp sockets")]);
}

#[test]
fn a_running_program_is_attached_to_and_lives_on() {
    let Some(program) = c("int main(){ int f[2]; char b; socketpair(AF_UNIX,SOCK_STREAM,0,f); \
        while(read(0,&b,1)==1) send(f[0],&b,1,0); return 9; }")
    else {
        return;
    };
    let mut child = Command::new(&program.0).stdin(Stdio::piped()).spawn().expect("it runs");
    let mut input = child.stdin.take().expect("piped");
    let events = Events::default();
    let sink = Arc::clone(&events);
    let push = move |event| sink.lock().expect("no panic").push(event);
    let watched = Watcher::new(Settings::default(), push).attach(child.id() as i32);
    let watched = match watched {
        Ok(watched) => watched,
        Err(error) => {
            drop(input);
            let _ = child.wait();
            return skip("attaching", &error.to_string());
        }
    };
    input.write_all(b"x").expect("it reads");
    let sent = |event: &Event| matches!(&event.what, What::Call(call) if call.name == "sendto");
    let event = wait_for(&watched, &events, "a send", sent);
    let What::Call(call) = event.what else { unreachable!() };
    assert_eq!((&*call.data, call.result), (&b"x"[..], value(1)));
    drop(input);
    assert_eq!(watched.wait_for_all(PATIENCE), Some(Ended::Exited(9)));
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let watcher = || Watcher::new(Settings::default(), |_| ());
    let error = watcher().spawn(Command::new("/nonexistent/program")).expect_err("no such program");
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    let error = watcher().attach(i32::MAX).expect_err("no such process");
    assert_eq!(error.raw_os_error().and_then(name::errno), Some("ESRCH"));
}

#[test]
fn calls_that_are_not_watched_run_as_ever() {
    // A file is read and written under watch, and none of it is recorded.
    let Some(program) = c("int main(){ char b[16]={0}; int f=open(\"/proc/self/cmdline\",0); \
        for(int i=0;i<100;i++) pread(f,b,1,0); int n=read(f,b,15); close(f); return n<1; }")
    else {
        return;
    };
    let seen = watch(Command::new(&program.0), Settings::default());
    assert_eq!(seen.ended, Ended::Exited(0));
    let names: Vec<&str> = seen.all().map(|call| &*call.name).collect();
    assert_eq!(names, Vec::<&str>::new());
}

#[test]
fn a_program_on_a_host_has_our_numbers_and_our_options() {
    let Some(program) =
        c("static void on(int s){} int main(){ int s; signal(SIGUSR1,on); pid_t p=getpid(); \
        if(!fork()) { kill(p,SIGUSR1); _exit(4); } while(wait(&s)<0); \
        int f=socket(AF_INET,SOCK_STREAM,0); int on=0; socklen_t n=sizeof on; \
        getsockopt(f,SOL_SOCKET,SO_KEEPALIVE,&on,&n); return p>20 ? 50 : on ? 0 : 51; }")
    else {
        return;
    };
    let Some((network, _)) = harness::start("watching on a host", Network::builder()) else { return };
    let host = harness::host(&network, "client");
    let mut settings = Settings { host: host.id(), ..Settings::default() };
    settings.options.set("keepalive", "on").expect("an option");
    let events = Events::default();
    let sink = Arc::clone(&events);
    let push = move |event| sink.lock().expect("no panic").push(event);
    let program = Program::new([&program.0]).directory("/");
    let (watched, _child) = Watcher::new(settings, push).spawn_on(host, program).expect("it can be watched");
    let ended = watched.wait_for_all(PATIENCE).expect("it ends");
    let events = std::mem::take(&mut *events.lock().expect("no panic"));
    let seen = Seen { events, ended };
    assert_eq!(seen.ended, Ended::Exited(0), "50: a number of ours; 51: no option");
    assert!(seen.events.iter().all(|event| event.host == Some(host.id())));
    let root = watched.pid().expect("it ran");
    let reaped: Vec<i32> =
        seen.changes().filter(|(_, change)| **change == Change::Reaped).map(|(pid, _)| pid).collect();
    let signal = seen.signals().find(|signal| signal.signal == libc::SIGUSR1).expect("a signal");
    assert_eq!((signal.pid, signal.sender), (root, Some(reaped[0])), "both as our namespace numbers them");
    let wait = seen.calls("wait4").last().expect("a wait");
    assert!(
        wait.result.is_some_and(|result| matches!(result, Returned::Value(1..=20))),
        "as the program sees it"
    );
}

#[test]
fn a_program_that_is_stopped_and_continued_and_killed() {
    let Some(program) = c("int main(){ socket(AF_INET,SOCK_STREAM,0); for(;;) pause(); }") else { return };
    let (watched, events) = begin(Command::new(&program.0), Settings::default());
    let stops = |event: &Event, stopped| matches!(&event.what, What::Process(process) if process.change == Change::Stopped(stopped));
    let made = wait_for(
        &watched,
        &events,
        "its socket",
        |event| matches!(&event.what, What::Call(call) if call.name == "socket"),
    );
    let What::Call(Call { result: Some(Returned::Value(number)), .. }) = &made.what else {
        panic!("{made:?}")
    };
    let pid = rustix::process::Pid::from_raw(watched.pid().expect("it runs")).expect("a number");
    let send = |signal| rustix::process::kill_process(pid, signal).expect("it lives");
    send(rustix::process::Signal::STOP);
    wait_for(&watched, &events, "a stop", |event| stops(event, true));
    send(rustix::process::Signal::CONT);
    wait_for(&watched, &events, "a continuation", |event| stops(event, false));
    send(rustix::process::Signal::KILL);
    assert_eq!(watched.wait_for_all(PATIENCE), Some(Ended::Killed(libc::SIGKILL)));
    let events = events.lock().expect("no panic");
    let Some(What::Process(last)) = events.last().map(|event| &event.what) else { panic!("{events:?}") };
    let Change::Killed { open_sockets, .. } = &last.change else { panic!("{last:?}") };
    assert_eq!(open_sockets.len(), 1, "{open_sockets:?}");
    assert!(open_sockets[0].starts_with(&format!("{number} tcp")), "{open_sockets:?}");
}

#[test]
fn what_is_watched_dies_with_its_watcher() {
    // The watcher is a thread of this test; to see what becomes of the program without it, another process is needed.
    let Some(program) = c("int main(){ for(;;) pause(); }") else { return };
    let mut inner = Command::new(std::env::current_exe().expect("a test"));
    inner.args(["--exact", "begin_to_watch_and_wait", "--nocapture"]).env("SWITCHBOARD_WATCH", &program.0);
    let mut inner = inner.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut said = std::io::BufReader::new(inner.stderr.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).expect("its number");
    let pid: i32 = line.trim().parse().expect("a number");
    inner.kill().expect("it lives");
    inner.wait().expect("our child");
    let until = std::time::Instant::now() + PATIENCE;
    let gone = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z ")
    };
    while !gone() {
        assert!(std::time::Instant::now() < until, "process {pid} lives on");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Not a test, but the other process of the one above.
#[test]
fn begin_to_watch_and_wait() {
    let Some(program) = std::env::var_os("SWITCHBOARD_WATCH") else { return };
    let (watched, events) = begin(Command::new(program), Settings::default());
    wait_for(&watched, &events, "its pause", |event| matches!(event.what, What::CallEntered(_)));
    let _ = writeln!(std::io::stderr(), "{}", watched.pid().expect("it runs"));
    let _ = watched.wait_for_all(PATIENCE);
}
