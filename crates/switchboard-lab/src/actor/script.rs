//! The text of an actor's part: calls, one a line or parted by `;`, in blocks.
//!
//! ```text
//! listen 5              # socket, bind and listen may also be said one by one
//! loop { accept; fork { echo }; close }
//! ```

/// A part.
pub(super) type Script = Vec<Op>;

/// A call, or calls in a block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Op {
    /// A call and its arguments.
    Call(Vec<String>),
    /// At most that often, until a call in it fails or the peer has ended.
    Loop(usize, Script),
    /// In a child, which then exits.
    Fork(Script),
}

/// Every call by name, and the least and the greatest number of its arguments.
pub(super) const CALLS: &[(&str, usize, usize)] = &[
    ("socket", 0, 1),
    ("set", 1, 1),
    ("nonblock", 0, 0),
    ("bind", 0, 1),
    ("listen", 0, 1),
    ("accept", 0, 0),
    ("connect", 0, 1),
    ("send", 1, 2),
    ("send-all", 1, 1),
    ("sendto", 1, 2),
    ("recv", 0, 2),
    ("recv-all", 0, 1),
    ("recvfrom", 0, 1),
    ("answer", 0, 0),
    ("poll", 1, 2),
    ("error", 0, 0),
    ("peername", 0, 0),
    ("shutdown", 1, 1),
    ("close", 0, 0),
    ("keep", 1, 1),
    ("use", 1, 1),
    ("pile", 0, 0),
    ("drop-pile", 0, 0),
    ("block", 1, 1),
    ("unblock", 1, 1),
    ("wait", 0, 0),
    ("sleep", 1, 1),
    ("handle", 1, 2),
    ("ignore", 1, 1),
    ("default", 1, 1),
    ("waitpid", 0, 1),
    ("limit", 1, 1),
    ("exit", 0, 1),
    ("echo", 0, 1),
    ("say", 0, 0),
    ("hear", 0, 1),
    ("pour", 0, 0),
];

/// Whether a part can be played.
///
/// # Errors
/// What is wrong with it, in words.
pub fn check(text: &str) -> Result<(), String> {
    parse(text).map(drop)
}

pub(super) fn parse(text: &str) -> Result<Script, String> {
    let mut words = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("");
        for mark in crate::scenario::words(line)? {
            // `;` may stick to the word before it.
            let bare = mark.trim_end_matches(';');
            if !bare.is_empty() {
                words.push(bare.to_owned());
            }
            if bare.len() < mark.len() {
                words.push(";".to_owned());
            }
        }
        words.push(";".to_owned());
    }
    let mut words = words.into_iter().peekable();
    let script = block(&mut words, false)?;
    match words.next() {
        Some(word) => Err(format!("`{word}` without its opening")),
        None => Ok(script),
    }
}

type Words = std::iter::Peekable<std::vec::IntoIter<String>>;

fn block(words: &mut Words, inner: bool) -> Result<Script, String> {
    let mut script = Script::new();
    loop {
        let mut call = Vec::new();
        while let Some(word) = words.next_if(|word| !matches!(word.as_str(), ";" | "{" | "}")) {
            call.push(word);
        }
        let next = words.peek().cloned();
        match next.as_deref() {
            Some("{") => {
                words.next();
                let body = block(words, true)?;
                if words.next().as_deref() != Some("}") {
                    return Err("a block is not closed with `}`".to_owned());
                }
                script.push(opening(&call, body)?);
            }
            other => {
                if !call.is_empty() {
                    script.push(known(call)?);
                }
                match other {
                    Some(";") => drop(words.next()),
                    Some(_) if inner => return Ok(script),
                    Some(_) => return Ok(script),
                    None if inner => return Err("a block is not closed with `}`".to_owned()),
                    None => return Ok(script),
                }
            }
        }
    }
}

fn opening(call: &[String], body: Script) -> Result<Op, String> {
    let call: Vec<&str> = call.iter().map(String::as_str).collect();
    match *call {
        ["loop"] => Ok(Op::Loop(usize::MAX, body)),
        ["repeat", times] => match times.parse() {
            Ok(times) => Ok(Op::Loop(times, body)),
            Err(_) => Err(format!("`repeat {times}`: how often?")),
        },
        ["fork"] => Ok(Op::Fork(body)),
        _ => Err(format!("`{}` opens no block: loop, repeat N, fork", call.join(" "))),
    }
}

fn known(call: Vec<String>) -> Result<Op, String> {
    let Some((name, least, most)) = CALLS.iter().find(|(name, ..)| *name == call[0]) else {
        let names: Vec<&str> = CALLS.iter().map(|(name, ..)| *name).collect();
        return Err(format!("`{}` is no call of an actor: {}", call[0], names.join(" ")));
    };
    if (least..=most).contains(&&(call.len() - 1)) {
        Ok(Op::Call(call))
    } else {
        Err(format!("`{name}` takes {least} to {most} arguments and not {}", call.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &[&str]) -> Op {
        Op::Call(words.iter().map(|word| (*word).to_owned()).collect())
    }

    #[test]
    fn calls_blocks_and_remarks() {
        let script =
            parse("listen 5 # a remark\nloop { accept; fork { echo }; close }\nsend \"a b\"").expect("fine");
        let wanted = vec![
            call(&["listen", "5"]),
            Op::Loop(usize::MAX, vec![call(&["accept"]), Op::Fork(vec![call(&["echo"])]), call(&["close"])]),
            call(&["send", "a b"]),
        ];
        assert_eq!(script, wanted);
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (text, wanted) in [
            ("sned 5", "no call of an actor"),
            ("send", "takes 1 to 2"),
            ("loop { accept", "not closed"),
            ("accept }", "without its opening"),
            ("often { accept }", "opens no block"),
        ] {
            let error = check(text).expect_err(text);
            assert!(error.contains(wanted), "{text}: {error}");
        }
    }
}
