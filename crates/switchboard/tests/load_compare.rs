//! `switchboard load compare` (row S7): two servers in turn, and what becomes of it when one is not there to the end.
//! Whether the machine is quiet enough to conclude is not asked.

mod harness;

use harness::{PATIENCE, Scratch, Server, number, program, run_to_end, text, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// A server that does this with every connection; it ends with the process of the test.
fn serve(each: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || each(stream));
        }
    });
    endpoint
}

/// One takes 100 ms for every answer: they are told apart by their medians.
#[test]
fn compare_pairs_two_servers() {
    let server = Server::start(&["echo", "--listen", "127.0.0.1:0"]);
    let slow = serve(|mut stream| {
        let mut bytes = [0; 64];
        while stream.read_exact(&mut bytes).is_ok() {
            thread::sleep(Duration::from_millis(100));
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
    });
    let shape = ["--pairs", "3", "-d", "300ms", "--warm-up", "0s", "--allow-disturbed", "--format", "json"];
    let fast = server.endpoint();
    let words = [&["load", "compare", fast.as_str(), slow.as_str()], &shape[..]].concat();
    let output = run_to_end(program().args(words), None, PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let facts: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((number(&facts, "pairs"), &facts["concluded"]), (3, &Value::Bool(true)), "{facts}");
    let metrics = facts["metrics"].as_array().expect("metrics");
    let p50 = metrics.iter().find(|metric| metric["metric"] == "p50").expect("a median");
    let figure = |name: &str| p50[name].as_f64().expect("a number");
    assert!(figure("b") >= 1e8 && figure("ratio") > 1.0, "{facts}");
    for metric in metrics {
        let figure = |name: &str| metric[name].as_f64().expect("a number");
        assert!(figure("low") <= figure("ratio") && figure("ratio") <= figure("high"), "{metric}");
        let differs = figure("low") > 1.0 || figure("high") < 1.0;
        assert_eq!(metric["verdict"] == "differs", differs, "{metric}");
    }
}

#[test]
fn compare_starts_and_ends_commands() {
    let exe = env!("CARGO_BIN_EXE_switchboard");
    let command = format!("{exe} serve echo --listen 127.0.0.1:{{port}}");
    let shape = ["--pairs", "3", "-d", "50ms", "--warm-up", "0s", "--allow-disturbed", "--format", "json"];
    let words = [&["load", "compare", command.as_str(), command.as_str()], &shape[..]].concat();
    let output = run_to_end(program().args(words), None, PATIENCE);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stderr.is_empty(), "a server's log is not ours: {}", text(&output.stderr));
    let output =
        run_to_end(program().args(["load", "compare", "ls /none/{port}", "127.0.0.1:1"]), None, PATIENCE);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("ended before it listened") && said.contains("/none/"), "{said}");
}

/// A server that ends meanwhile is not compared by what it answered before.
#[test]
fn compare_ends_with_a_server_that_ends() {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let there = serve(|mut stream| {
        let mut bytes = [0; 64];
        while stream.read_exact(&mut bytes).is_ok() && stream.write_all(&bytes).is_ok() {
            ASKED.fetch_add(1, Ordering::SeqCst);
        }
    });
    let (scratch, exe) = (Scratch::new(), env!("CARGO_BIN_EXE_switchboard"));
    let signal = scratch.path("signal");
    rustix::fs::mkfifoat(rustix::fs::CWD, &signal, rustix::fs::Mode::RWXU).expect("a place for it");
    // Opened both ways it waits for nobody.
    let mut told = std::fs::File::options().read(true).write(true).open(&signal).expect("it was made");
    let command =
        format!("sh -c '{exe} serve echo --listen 127.0.0.1:{{port}} & read it <{signal}; kill $!'");
    let shape = ["--pairs", "1000", "-d", "50ms", "--warm-up", "0s"];
    let words = [&["load", "compare", command.as_str(), there.as_str()], &shape[..]].concat();
    thread::spawn(move || {
        // Its turn is over when the other has his.
        while ASKED.load(Ordering::SeqCst) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        told.write_all(b"now\n").expect("a FIFO");
    });
    let output = run_to_end(program().args(words), None, PATIENCE);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("serve echo") && said.contains("it ended while it was measured"), "{said}");
}

#[test]
fn an_interrupt_ends_the_wait_for_a_server_and_the_server() {
    let scratch = Scratch::new();
    let mark = scratch.path("mark");
    let command = format!("sh -c 'echo $$ >{mark}.new; mv {mark}.new {mark}; exec sleep 1000; : {{port}}'");
    let mut child =
        program().args(["load", "compare", &command, &command]).spawn().expect("the program runs");
    let is_started = || std::fs::exists(&mark).unwrap_or(false);
    wait_until("the server is started", is_started, || "it is not".to_owned());
    kill_process(Pid::from_child(&child), Signal::INT).expect("our child");
    let mut status = None;
    let mut is_over = || {
        status = child.try_wait().expect("our child");
        status.is_some()
    };
    wait_until("its end", &mut is_over, || "it waits".to_owned());
    assert_eq!(status.and_then(|status| status.signal()), Some(2), "{status:?}");
    let pid = std::fs::read_to_string(&mark).expect("its id").trim().parse::<i32>().expect("a number");
    let server = Pid::from_raw(pid).expect("an id");
    Server::wait_until_gone(&[server], "the end of the server");
}
