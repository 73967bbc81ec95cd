//! Checks of Rust source: by its text, without comments and literals.

use crate::Problems;
use std::collections::BTreeSet;

/// Words that must not occur in some files.
struct Rule {
    words: &'static [&'static str],
    here: fn(&str) -> bool,
    /// Whether code that is only compiled for tests must do without them too.
    tests_too: bool,
    why: &'static str,
}

const RULES: [Rule; 5] = [
    Rule {
        words: &["std", "SystemTime", "Instant::now", "thread", "rand", "libc", "rustix"],
        here: |path| path.starts_with("crates/switchboard-proto/src/"),
        tests_too: false,
        why: "proto knows no clock, thread, file, socket, environment or randomness: they are arguments",
    },
    Rule {
        words: &["print!", "println!", "eprint!", "eprintln!", "dbg!"],
        here: |path| path != "crates/switchboard/src/report.rs",
        tests_too: true,
        why: "crates/switchboard/src/report.rs is the only writer: these panic when the reader has gone away",
    },
    Rule {
        words: &["unsafe"],
        here: |path| !may_be_unsafe(path),
        tests_too: true,
        why: "unsafe code stays in net's sys and engine/uring and in the lab's host and watch, where every block is looked at twice",
    },
    Rule {
        words: &["todo!", "unimplemented!"],
        here: |_| true,
        tests_too: true,
        why: "finish it or leave it out",
    },
    Rule {
        words: &[".unwrap()"],
        here: |path| path.starts_with("crates/") && path.contains("/src/"),
        tests_too: false,
        why: "handle it, or say with expect why it cannot happen",
    },
];

fn may_be_unsafe(path: &str) -> bool {
    const NET: &str = "crates/switchboard-net/src/";
    const LAB: &str = "crates/switchboard-lab/src/";
    let within = |room: &str| path.strip_prefix(NET).is_some_and(|path| path.starts_with(room));
    let within_lab = |room: &str| path.strip_prefix(LAB).is_some_and(|path| path.starts_with(room));
    within("sys.rs")
        || within("sys/")
        || within("engine/uring")
        || within_lab("host/")
        || within_lab("watch/")
        || path.contains("/benches/")
}

/// Calls that do not belong where they are.
pub(crate) fn forbidden(path: &str, source: &str) -> Problems {
    let all = bare(source);
    let shipped = without_tests(&all);
    let mut problems = Problems::new();
    for rule in RULES.iter().filter(|rule| (rule.here)(path)) {
        let text = if rule.tests_too { &all } else { &shipped };
        for word in rule.words {
            let found = lines_with(text, word);
            problems.extend(found.map(|line| format!("{path}:{line}: `{word}`: {}", rule.why)));
        }
    }
    problems
}

/// Unsafe blocks and promises without a `SAFETY:` line close above.
pub(crate) fn undocumented_unsafe(path: &str, source: &str) -> Problems {
    /// A statement may have begun some lines before its unsafe block.
    const ABOVE: usize = 8;
    let lines: Vec<&str> = source.lines().collect();
    let text = bare(source);
    let mut problems = Problems::new();
    for (index, line) in text.lines().enumerate() {
        if !["unsafe {", "unsafe impl"].iter().any(|word| line.contains(word)) {
            continue;
        }
        let above = &lines[index.saturating_sub(ABOVE)..=index];
        if !above.iter().any(|line| line.contains("// SAFETY: ")) {
            problems
                .push(format!("{path}:{}: say above, in a line `// SAFETY: …`, why this holds", index + 1));
        }
    }
    problems
}

/// A file that does not begin by saying what it is.
pub(crate) fn headless(path: &str, source: &str) -> Option<String> {
    let missing = !source.starts_with("//! ");
    missing.then(|| format!("{path}:1: begin with `//! ` and what this file is"))
}

/// A file or folder whose name says nothing.
pub(crate) fn meaningless_name(path: &str) -> Option<String> {
    const NAMES: [&str; 9] =
        ["util", "utils", "common", "helper", "helpers", "types", "manager", "misc", "stuff"];
    let empty =
        path.split('/').map(|part| part.split('.').next().unwrap_or(part)).find(|name| NAMES.contains(name));
    empty.map(|name| format!("{path}: `{name}` says nothing; name it after what it holds"))
}

/// What stands between `start` and the next quote, wherever `start` begins a line or follows an opening.
pub(crate) fn named_rows(text: &str, start: &str) -> BTreeSet<String> {
    let rows = text.lines().filter_map(|line| line.trim_start().strip_prefix(start));
    rows.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

/// Numbers of the lines in which `word` stands as a word.
fn lines_with<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let (starts, ends) = (is_part(word.chars().next()), is_part(word.chars().last()));
    let stands = move |line: &str| {
        line.match_indices(word).any(|(at, _)| {
            let before = line[..at].chars().last();
            let after = line[at + word.len()..].chars().next();
            let part_of_another = starts && is_part(before) || ends && is_part(after);
            !part_of_another
        })
    };
    text.lines().enumerate().filter(move |(_, line)| stands(line)).map(|(index, _)| index + 1)
}

/// `source` with blanks in the place of comments and of what is in string and character literals.
fn bare(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => end_of_line(&chars, at),
            '/' if chars.get(at + 1) == Some(&'*') => end_of_comment(&chars, at),
            '"' => end_of_string(&chars, at),
            'r' if !follows_identifier(&chars, at) => end_of_raw_string(&chars, at).unwrap_or(at),
            '\'' => end_of_character(&chars, at),
            _ => at,
        };
        if end == at {
            out.push(chars[at]);
            at += 1;
        } else {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    out
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |n| at + n)
}

fn end_of_comment(chars: &[char], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn end_of_string(chars: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(chars.len())
}

/// Whether the `r` at `at` is in the middle of a word; the `b` and `c` of `br""` and `cr""` are no words.
fn follows_identifier(chars: &[char], at: usize) -> bool {
    let is_part = |index: usize| chars.get(index).is_some_and(|c| c.is_alphanumeric() || *c == '_');
    let prefix = at > 0 && matches!(chars[at - 1], 'b' | 'c');
    let before = if prefix { at.checked_sub(2) } else { at.checked_sub(1) };
    before.is_some_and(is_part)
}

fn end_of_raw_string(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let mut at = start + 1 + hashes;
    if chars.get(at) != Some(&'"') {
        return None;
    }
    at += 1;
    while at < chars.len() {
        let closing = chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
        at += 1;
        if closing {
            return Some(at + hashes);
        }
    }
    Some(at)
}

/// The end of a character literal; of nothing for a lifetime.
fn end_of_character(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            let rest = chars[(at + 3).min(chars.len())..].iter().position(|c| *c == '\'');
            rest.map_or(chars.len(), |n| at + 3 + n + 1)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// `bare` source with blanks in the place of items that are only compiled for tests.
fn without_tests(bare: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(bare.len());
    let mut rest = bare;
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        let end = at + end_of_item(&rest[at..]);
        out.extend(rest[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[end..];
    }
    out + rest
}

fn end_of_item(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            ';' if depth == 0 => return at + 1,
            '{' => depth += 1,
            '}' if depth <= 1 => return at + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// Pieces of bad code, put together so that this file itself has none.
fn bad(word: &str) -> String {
    format!("//! A file.\nfn f() {{\n    {word}\n}}\n")
}

#[test]
fn forbidden_calls_are_found_with_their_line() {
    let proto = "crates/switchboard-proto/src/echo.rs";
    for (path, line) in [
        (proto, "let now = std::time::Instant::now();"),
        (proto, "use std::net::TcpStream;"),
        (proto, "let x = rand::random();"),
        ("crates/switchboard/src/command/list.rs", concat!("print", "ln!(\"x\");")),
        ("crates/switchboard/tests/cli.rs", concat!("eprint", "ln!(\"x\");")),
        ("crates/switchboard/src/lib.rs", concat!("un", "safe { f() }")),
        ("crates/switchboard-net/src/listener.rs", concat!("un", "safe { f() }")),
        ("fuzz/src/lib.rs", concat!("to", "do!()")),
        ("crates/switchboard-net/src/tally.rs", "x.unwrap();"),
    ] {
        let problems = forbidden(path, &bad(line));
        assert!(!problems.is_empty(), "{path}: {line}");
        assert!(problems[0].starts_with(&format!("{path}:3: ")), "{problems:?}");
    }
}

#[test]
fn what_is_allowed_is_not_found() {
    for (path, line) in [
        ("crates/switchboard-net/src/stop.rs", "let now = std::time::Instant::now();"),
        ("crates/switchboard-proto/src/echo.rs", "let standard = operand; // std::net is not used"),
        (
            "crates/switchboard-proto/src/echo.rs",
            "let text = \"a thread\"; let c = '\"'; let s = r#\"std\"#;",
        ),
        (
            "crates/switchboard-proto/src/echo.rs",
            "} #[cfg(test)] mod tests { extern crate std; fn t() {} } fn g() {",
        ),
        ("crates/switchboard-net/src/sys/clock.rs", concat!("un", "safe { f() }")),
        ("crates/switchboard-net/src/engine/uring/ring.rs", concat!("un", "safe { f() }")),
        ("crates/switchboard-net/src/lib.rs", concat!("#![deny(un", "safe_code)]")),
        ("crates/switchboard/tests/cli.rs", "x.unwrap();"),
    ] {
        assert_eq!(forbidden(path, &bad(line)), Problems::new(), "{path}: {line}");
    }
    let tests_in_the_middle = "#[cfg(test)]\nmod tests { use std::vec; }\nuse std::vec;\n";
    assert_eq!(forbidden("crates/switchboard-proto/src/a.rs", tests_in_the_middle).len(), 1);
}

#[test]
fn unsafe_without_a_reason_is_found() {
    let block = concat!("let x = un", "safe { f() };");
    let path = "crates/switchboard-net/src/sys/a.rs";
    assert_eq!(undocumented_unsafe(path, &bad(block)).len(), 1);
    assert_eq!(
        undocumented_unsafe(path, &bad(&format!("// SAFETY: f has no conditions.\n{block}"))).len(),
        0
    );
    assert_eq!(undocumented_unsafe(path, &bad(&format!("// {block}"))).len(), 0);
}

#[test]
fn headless_files_and_empty_names_are_found() {
    assert!(headless("a.rs", "use std::io;\n").is_some());
    assert!(headless("a.rs", "//! What it is.\n").is_none());
    assert!(meaningless_name("crates/switchboard/src/util.rs").is_some());
    assert!(meaningless_name("crates/helpers/src/lib.rs").is_some());
    assert!(meaningless_name("crates/switchboard/src/utility_bill.rs").is_none());
}

#[test]
fn names_of_rows_are_found() {
    let text = "    Engine { name: \"a\", x },\n    Engine { name: \"b\", x },\n// Engine { name: \"c\"\n";
    assert_eq!(named_rows(text, "Engine { name: \"").into_iter().collect::<Vec<_>>(), ["a", "b"]);
}
