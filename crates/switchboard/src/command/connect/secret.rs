//! A password from the terminal, which does not show it.

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{self, Read, Write};
use switchboard_net::Error;

/// Bytes of the longest password.
const LONGEST: usize = 255;

const INTERRUPT: u8 = 0x03;
const END: u8 = 0x04;
const KILL: u8 = 0x15;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];

/// Asks for a password on the terminal that controls this process.
///
/// Keys that make signals are read as keys meanwhile: a signal would leave the terminal without its echo.
pub(super) fn ask(question: &str) -> Result<String, Error> {
    let missing = |error: io::Error| Error::System {
        what: "ask for the password".into(),
        source: error,
        hint: Some("Without a terminal, write it in the URL: USER:PASSWORD@HOST".into()),
    };
    let terminal = File::options().read(true).write(true).open("/dev/tty").map_err(missing)?;
    let before = tcgetattr(&terminal).map_err(|errno| missing(errno.into()))?;
    let mut quiet = before.clone();
    quiet.local_modes &= !(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
    quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&terminal, OptionalActions::Flush, &quiet).map_err(|errno| missing(errno.into()))?;
    let typed = (&terminal).write_all(question.as_bytes()).and_then(|()| line(&mut &terminal));
    let _ = tcsetattr(&terminal, OptionalActions::Flush, &before);
    let _ = (&terminal).write_all(b"\n");
    typed.map_err(missing)
}

/// What is typed until the end of the line.
fn line(keys: &mut dyn Read) -> io::Result<String> {
    let mut typed = Vec::new();
    let mut key = [0];
    loop {
        if keys.read(&mut key)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match key[0] {
            b'\r' | b'\n' | END => break,
            INTERRUPT => return Err(io::ErrorKind::Interrupted.into()),
            KILL => typed.clear(),
            key if BACKSPACE.contains(&key) => {
                // A character, and not half of one.
                while typed.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {}
            }
            key if typed.len() < LONGEST => typed.push(key),
            _ => {}
        }
    }
    String::from_utf8(typed).map_err(|_| io::Error::other("it is no text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_a_password() {
        for (keys, wanted) in [
            ("secret\n", Some("secret")),
            ("wrong\x15right\r", Some("right")),
            ("aä\x7fb\x08\x04", Some("a")),
            ("\x7f\n", Some("")),
            ("abc\x03", None),
            ("abc", None),
        ] {
            assert_eq!(line(&mut keys.as_bytes()).ok().as_deref(), wanted, "{keys:?}");
        }
    }
}
