//! `trace`: the socket calls of a program, decoded, as it makes them.

use crate::exit::Exit;
use crate::report::Output;
use clap::{Args, ValueEnum};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, kill_process};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};
use switchboard_lab::record::{Call, Event, What};
use switchboard_lab::watch::{Ended, Rule, Settings, Watched, Watcher};
use switchboard_net::SocketOptions;
use switchboard_net::sys::signal::{Signal, Signals};

mod begin;
mod line;
mod summary;

use line::Lines;
use summary::Summary;

/// Events that may wait to be written; beyond it the program waits.
const QUEUE: usize = 4096;
/// A call that has not returned after this long is told of.
const LONG: Duration = Duration::from_secs(1);

/// Shows a program's socket calls, decoded, as it makes them
///
/// Calls that concern sockets, waiting, processes and signals are shown with their arguments, result and, above a
/// millisecond, the time they took; calls on files and everything else run at full speed. Threads and children are
/// followed. The program is not changed: it may be static, and in any language. Its own output is untouched; the trace
/// goes to standard error, or to a file.
///
/// Calls can be made to fail or to fall short (--inject CALL:ACTION[:WHEN][:on=KIND]), and options of sockets set from
/// outside (--with), to see what the program makes of it. CALL is a system call, or recv, send or accept for all of
/// that sort; ACTION is short=BYTES or errno=NAME; WHEN is nth=N, nth=M..N, nth=M.. or every=N; KIND is tcp, udp, unix,
/// ….
///
/// The exit code is the program's, or 128+n if signal n killed it; 127 if there is no such program.
#[derive(Args, Debug)]
#[command(after_help = crate::command::with_exit_codes(EXAMPLES))]
pub(crate) struct Arguments {
    /// Watch this process, which runs already, until it ends or Ctrl-C is pressed; it lives on
    #[arg(short, long, value_name = "PID", conflicts_with = "program", required_unless_present = "program")]
    pid: Option<i32>,

    /// For people, or one JSON object an event
    #[arg(long, value_enum, default_value = "human")]
    format: Form,

    /// Write the trace to a file
    #[arg(short, long, value_name = "FILE")]
    output: Option<std::path::PathBuf>,

    /// At the end: calls, errors, bytes and time, call by call
    #[arg(short, long)]
    summary: bool,

    /// No line for each call
    #[arg(short, long, requires = "summary")]
    quiet: bool,

    /// Make calls fail or fall short: recv:short=1:nth=2, accept:errno=ECONNABORTED
    #[arg(long, value_name = "RULE")]
    inject: Vec<Rule>,

    /// Set an option on every socket that the program makes or accepts: user-timeout=5s
    #[arg(long, value_name = "OPTION=VALUE")]
    with: Vec<String>,

    /// Show reads and writes of standard input, output and error as well when they are no sockets
    #[arg(long)]
    stdio: bool,

    /// The program and its arguments
    #[arg(trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<OsString>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
enum Form {
    /// A line a call
    Human,
    /// JSON Lines: times in nanoseconds of CLOCK_MONOTONIC, data in hexadecimal
    Json,
}

const EXAMPLES: &str = "\
Examples:
  switchboard trace switchboard connect 127.0.0.1 7013
  switchboard trace --summary --quiet -- switchboard connect 127.0.0.1 7013
  switchboard trace --inject recv:short=1 -- switchboard connect 127.0.0.1 7013     byte by byte
  switchboard trace --with keepalive=on -o trace.txt -- switchboard connect 127.0.0.1 7013";

pub(crate) fn run(arguments: Arguments, out: &mut Output) -> Exit {
    let settings = match settings(&arguments) {
        Ok(settings) => settings,
        Err(reason) => {
            out.talk(reason);
            return Exit::Usage;
        }
    };
    let file = match arguments.output.as_ref().map(File::create).transpose() {
        Ok(file) => file,
        Err(error) => {
            let path = arguments.output.unwrap_or_default();
            out.talk(format_args!("cannot write {}: {error}", path.display()));
            return Exit::Output;
        }
    };
    let (tell, told) = sync_channel(QUEUE);
    // Ctrl-C at a terminal goes to the program as well, which decides what it means.
    if let Err(error) = listen_to_signals(tell.clone()) {
        out.talk(format_args!("cannot catch signals: {error}"));
        return Exit::Failed;
    }
    let watcher = Watcher::new(settings, sink(tell));
    let begun = match arguments.pid {
        Some(pid) => watcher.attach(pid).map_err(|error| begin::why_not(pid, &error)),
        None => begin::start(watcher, &arguments.program),
    };
    let watched = match begun {
        Ok(watched) => watched,
        Err((reason, exit)) => {
            out.talk(reason);
            return exit;
        }
    };
    let mut trace = Trace {
        lines: (!arguments.quiet).then(Lines::default),
        form: arguments.format,
        summary: Summary::default(),
        open: BTreeMap::new(),
        file: file.map(BufWriter::new),
        failed: None,
        out,
    };
    let attached = arguments.pid.is_some();
    let over = trace.follow(&watched, &told, attached);
    if arguments.summary {
        trace.summarise();
    }
    // How it ended is known a moment after the last event.
    let ended = over.then(|| watched.wait_for_all(LONG)).flatten();
    trace.end(ended, attached)
}

fn settings(arguments: &Arguments) -> Result<Settings, String> {
    let mut options = SocketOptions::default();
    for option in &arguments.with {
        let (name, value) =
            option.split_once('=').ok_or_else(|| format!("--with {option}: give OPTION=VALUE"))?;
        // The names of setsockopt(2) have underscores.
        options.set(&name.replace('_', "-"), value).map_err(|error| format!("--with {option}: {error}"))?;
    }
    Ok(Settings { rules: arguments.inject.clone(), options, stdio: arguments.stdio, ..Settings::default() })
}

/// What the main thread waits for.
enum News {
    Event(Event),
    Signal(Signal),
    /// There is nothing left to watch.
    Over,
}

/// Tells the events, and then that there will be no more.
fn sink(tell: SyncSender<News>) -> impl FnMut(Event) + Send + 'static {
    struct Last(SyncSender<News>);
    impl Drop for Last {
        fn drop(&mut self) {
            let _ = self.0.send(News::Over);
        }
    }
    let last = Last(tell);
    move |event| {
        let Last(tell) = &last;
        // Nobody listens any more when we are about to end.
        let _ = tell.send(News::Event(event));
    }
}

fn listen_to_signals(tell: SyncSender<News>) -> io::Result<()> {
    let signals = Signals::watch(&[Signal::Interrupt, Signal::Terminate])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        loop {
            let _ = poll(&mut [PollFd::new(&signals, PollFlags::IN)], None);
            for signal in signals.take() {
                if tell.send(News::Signal(signal)).is_err() {
                    return;
                }
            }
        }
    })?;
    Ok(())
}

/// The trace as it is written.
struct Trace<'a> {
    /// None if calls are not shown.
    lines: Option<Lines>,
    form: Form,
    summary: Summary,
    /// Calls that have not returned, by serial number, until they were told of as long.
    open: BTreeMap<u64, (Instant, Call)>,
    file: Option<BufWriter<File>>,
    failed: Option<io::Error>,
    out: &'a mut Output,
}

impl Trace<'_> {
    /// Writes what happens until nothing is left; false if Ctrl-C ends the look at a program that is not ours.
    fn follow(&mut self, watched: &Watched, told: &Receiver<News>, attached: bool) -> bool {
        loop {
            let news = match self.open.values().next() {
                Some((since, _)) => told.recv_timeout(LONG.saturating_sub(since.elapsed())),
                None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match news {
                Ok(News::Event(event)) => self.event(&event),
                Ok(News::Signal(_)) if attached => return false,
                Ok(News::Signal(Signal::Terminate)) => {
                    if let Some(pid) = watched.pid().and_then(Pid::from_raw) {
                        let _ = kill_process(pid, rustix::process::Signal::TERM);
                    }
                }
                Ok(News::Signal(_)) => {}
                Ok(News::Over) | Err(RecvTimeoutError::Disconnected) => return true,
                Err(RecvTimeoutError::Timeout) => self.long(),
            }
        }
    }

    fn event(&mut self, event: &Event) {
        self.summary.count(event);
        match &event.what {
            What::CallEntered(call) if call.name != "exit_group" => {
                self.open.insert(call.serial, (Instant::now(), call.clone()));
            }
            What::Call(call) => drop(self.open.remove(&call.serial)),
            _ => {}
        }
        let Some(lines) = &mut self.lines else { return };
        match self.form {
            Form::Json => match serde_json::to_string(event) {
                Ok(line) => self.write(&line),
                Err(error) => self.failed = Some(error.into()),
            },
            Form::Human => {
                if let Some(line) = lines.event(event) {
                    self.write(&line);
                }
            }
        }
    }

    /// Tells of the calls that have not returned for long.
    fn long(&mut self) {
        while let Some(first) = self.open.first_entry().filter(|first| first.get().0.elapsed() >= LONG) {
            let (_, call) = first.remove();
            if let (Some(lines), Form::Human) = (&mut self.lines, self.form) {
                let line = lines.blocked(&call, LONG);
                self.write(&line);
            }
        }
        if let Some(file) = &mut self.file {
            self.failed = file.flush().err().or(self.failed.take());
        }
    }

    fn summarise(&mut self) {
        match self.form {
            Form::Human => self.write(&self.summary.to_string()),
            Form::Json => self.write(&self.summary.json().to_string()),
        }
    }

    fn write(&mut self, text: &str) {
        match &mut self.file {
            None => self.out.aside(text),
            Some(file) => {
                let written = writeln!(file, "{}", anstream::adapter::strip_str(text));
                self.failed = self.failed.take().or(written.err());
            }
        }
    }

    fn end(mut self, ended: Option<Ended>, attached: bool) -> Exit {
        if let Some(file) = &mut self.file {
            self.failed = self.failed.take().or(file.flush().err());
        }
        if let Some(error) = self.failed {
            self.out.talk(format_args!("the trace could not be written: {error}"));
            return Exit::Output;
        }
        match ended {
            Some(Ended::Exited(status)) => Exit::Passed(status as u8),
            Some(Ended::Killed(signal)) => Exit::Signal(signal as u8),
            Some(Ended::Unwatched(errno)) => {
                self.out.talk(format_args!("the watcher failed: {}", io::Error::from_raw_os_error(errno)));
                Exit::Failed
            }
            None if attached => Exit::Ok,
            None => Exit::Failed,
        }
    }
}
