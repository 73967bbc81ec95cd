//! [`Output`]: the only writer of the program. Data goes to standard output, talk to standard error.

use std::fmt::Display;
use std::io::{self, Write};

mod sheet;
mod table;

pub(crate) use sheet::{Fact, Row, Sheet};
pub(crate) use table::Table;

/// Standard output and standard error. A reader that goes away ends the output, not the program.
#[derive(Debug, Default)]
pub(crate) struct Output {
    broken: bool,
}

impl Output {
    /// A line of data.
    pub(crate) fn line(&mut self, text: impl Display) {
        if !self.broken {
            self.broken = writeln!(anstream::stdout(), "{text}").is_err();
        }
    }

    /// A line to the person at the terminal.
    pub(crate) fn talk(&mut self, text: impl Display) {
        to_stderr(&format!("switchboard: {text}\n"));
    }

    /// The same, as a daemon of this name.
    pub(crate) fn say(&mut self, name: &str, text: impl Display) {
        to_stderr(&format!("{name}: {text}\n"));
    }

    /// What is wrong with a file, shown to the person at the terminal.
    pub(crate) fn report(&mut self, text: impl Display) {
        to_stderr(&format!("{text}\n\n"));
    }

    /// A line beside the data of another program: on standard error, as it is.
    pub(crate) fn aside(&mut self, text: impl Display) {
        to_stderr(&format!("{text}\n"));
    }

    /// A line at the terminal that the next one replaces; an empty one removes it.
    pub(crate) fn passing(&mut self, text: impl Display) {
        // Cursor movements are no colours: they stay with NO_COLOR, too.
        let _ = write!(io::stderr(), "\r{text}\x1b[K");
    }

    /// Bytes for standard output as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        if !self.broken {
            let mut stdout = io::stdout().lock();
            self.broken = stdout.write_all(bytes).and_then(|()| stdout.flush()).is_err();
        }
    }

    /// Text that moves the cursor of the terminal, for a view that is drawn again and again.
    pub(crate) fn redraw(&mut self, text: impl Display) {
        let _ = write!(io::stderr(), "{text}");
    }

    /// Makes sure that everything was written, before other processes write to the same place.
    pub(crate) fn flush(&mut self) {
        self.broken |= io::stdout().flush().is_err();
    }

    /// Whether standard output could not be written.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }
}

/// In one piece: standard error is not buffered, and others write there as well.
fn to_stderr(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}
