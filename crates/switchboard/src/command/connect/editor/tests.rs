//! The editor and a terminal, without either.

use super::emulator::Emulator;
use super::*;
use switchboard_proto::Random;

const WIDTH: usize = 20;

/// An editor and the terminal it is shown on.
struct Desk {
    editor: Editor,
    terminal: Emulator,
    sent: Vec<u8>,
}

impl Desk {
    fn new() -> Desk {
        let editor = Editor::new(Box::new(|| WIDTH), History::default());
        Desk { editor, terminal: Emulator::new(WIDTH), sent: Vec::new() }
    }

    fn types(&mut self, keys: &[u8]) -> bool {
        let goes_on = self.editor.typed(keys, &mut self.sent);
        self.look();
        goes_on
    }

    fn hears(&mut self, bytes: &[u8]) {
        self.editor.came(bytes);
        self.look();
    }

    fn look(&mut self) {
        let mut shown = Vec::new();
        self.editor.show(&mut shown);
        self.terminal.write(&shown);
    }

    #[track_caller]
    fn shows(&self, rows: &[&str]) {
        assert_eq!(self.terminal.rows(), rows);
    }
}

#[test]
fn what_arrives_does_not_garble_the_line() {
    let mut desk = Desk::new();
    desk.hears(b"login: ");
    desk.types(b"us");
    desk.shows(&["login: us"]);
    desk.hears(b"\nnews\nlogin: ");
    desk.shows(&["login:", "news", "login: us"]);
    desk.types(b"er\x1b[D\x1b[D\x1b[D\x1b[Dan \r");
    desk.shows(&["login:", "news", "login: an user"]);
    assert_eq!(desk.sent, b"an user\n");
    desk.hears(b"welcome\n");
    desk.shows(&["login:", "news", "login: an user", "welcome"]);
}

#[test]
fn lines_longer_than_the_terminal_are_wiped_whole() {
    let mut desk = Desk::new();
    desk.types(b"0123456789012345678901234567890123456789");
    desk.shows(&["01234567890123456789", "01234567890123456789"]);
    desk.hears(b"x\n");
    desk.shows(&["x", "01234567890123456789", "01234567890123456789"]);
    desk.types(b"\x01\x0b");
    desk.shows(&["x"]);
    desk.types("漢字漢字漢字漢字漢字漢".as_bytes());
    desk.hears(b"prompt> ");
    desk.shows(&["x", "prompt> 漢字漢字漢字", "漢字漢字漢"]);
    desk.types(b"\x15done\r");
    desk.shows(&["x", "prompt> done"]);
    assert_eq!(desk.sent, b"done\n");
}

#[test]
fn keys_edit() {
    for (keys, wanted) in [
        (&b"abc\x7f\x7fd\r"[..], &b"ad\n"[..]),
        (b"one two  three\x17\x17x\r", b"one x\n"),
        (b"abc\x01\x04\x05!\r", b"bc!\n"),
        (b"abc\x15\x19\x19\r", b"abcabc\n"),
        (b"a b c\x1bb\x1bb>\r", b"a >b c\n"),
        (b"one\rtwo\r\x1b[A\x1b[A!\r", b"one\ntwo\none!\n"),
        (b"\xff\x16\x03\r", b"\xff\x03\n"),
        (b"\r", b"\n"),
    ] {
        let mut desk = Desk::new();
        assert!(desk.types(keys));
        assert_eq!(desk.sent, wanted, "{}", keys.escape_ascii());
    }
    let mut desk = Desk::new();
    assert!(desk.types(b"x\x04\x7f"));
    assert!(!desk.types(b"\x04"), "in an empty line it is the end");
}

#[test]
fn notices_have_lines_of_their_own() {
    let mut desk = Desk::new();
    desk.hears(b"half");
    desk.types(b"typed");
    desk.editor.notice("waiting");
    desk.look();
    desk.shows(&["half", "waiting", "typed"]);
    let rest = desk.editor.leave();
    desk.terminal.write(&rest);
    desk.terminal.write(b"$ ");
    desk.shows(&["half", "waiting", "typed", "$"]);
}

/// Whatever is typed and arrives in whatever order: all that arrived is on the screen, and after it what stands in
/// the line.
#[test]
fn random_conversations_are_shown_whole() {
    let seed = std::env::var("SWITCHBOARD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    let mut random = Random::new(seed);
    let typed: [&[u8]; 16] = [
        b"a",
        b"word ",
        "é".as_bytes(),
        "漢".as_bytes(),
        b"\x7f",
        b"\x1b[D",
        b"\x1b[C",
        b"\x01",
        b"\x05",
        b"\x04\x04x",
        b"\x0b",
        b"\x15",
        b"\x17",
        b"\x19",
        b"\x1b[A",
        b"\x16\x07",
    ];
    let came: [&[u8]; 7] = [
        b"line\n",
        b"prompt> ",
        "ü漢\n".as_bytes(),
        b"\x1b[1mbold\x1b[0m ",
        b"x",
        b"a longer line that wraps\n",
        b"\n",
    ];
    for round in 0..300 {
        let mut desk = Desk::new();
        let mut alone = Emulator::new(WIDTH);
        for _ in 0..random.below(40) {
            if random.below(2) == 0 {
                desk.types(typed[random.below(typed.len())]);
            } else {
                let bytes = came[random.below(came.len())];
                let cut = random.below(bytes.len() + 1);
                desk.hears(&bytes[..cut]);
                desk.hears(&bytes[cut..]);
                alone.write(bytes);
            }
        }
        let bare = |text: String| text.replace(' ', "");
        let wanted: String = desk.editor.line.iter().map(|one| one.shown.as_str()).collect();
        let (before, cursor) = (alone.text(), desk.editor.at);
        assert_eq!(
            desk.terminal.text(),
            bare(format!("{before}{wanted}")),
            "seed {seed}, round {round}, cursor at {cursor}"
        );
        // The cursor stands where the next character would be put.
        let left: String = desk.editor.line[..cursor].iter().map(|one| one.shown.as_str()).collect();
        assert_eq!(
            desk.terminal.text_before_cursor(),
            bare(format!("{before}{left}")),
            "seed {seed}, round {round}"
        );
    }
}
