//! The commands and listings in our pages and comments.

/// A fenced code block.
///
/// ````text
/// ```sh root
/// nginx -s reload
/// ```
/// ````
///
/// The first word after the fence is the language, which readers are shown. The others are for the tests and invisible
/// to readers: `NAME` is a flag, `NAME=VALUE` has a value.
#[derive(Debug, PartialEq)]
pub struct Block {
    /// The line of its opening fence, from 1.
    pub line: usize,
    /// Such as `rust`; empty if there is none.
    pub language: String,
    /// The words behind the language.
    pub words: Vec<String>,
    /// The lines between the fences.
    pub text: String,
}

impl Block {
    /// Whether the flag `name` stands behind the language.
    pub fn has(&self, name: &str) -> bool {
        self.words.iter().any(|word| word == name)
    }

    /// The VALUE of `name=VALUE`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}

/// All fenced code blocks of a page, in order.
///
/// # Panics
/// When a block does not end.
pub fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.trim_start().strip_prefix("```") else { continue };
        let fence = "`".repeat(3 + info.bytes().take_while(|&byte| byte == b'`').count());
        let info = info.trim_start_matches('`');
        let mut text = String::new();
        loop {
            let (_, line) = lines.next().unwrap_or_else(|| panic!("the block of line {} does not end", number + 1));
            if line.trim() == fence {
                break;
            }
            text.push_str(line);
            text.push('\n');
        }
        let mut words = info.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned);
        let language = words.next().unwrap_or_default();
        found.push(Block { line: number + 1, language, words: words.collect(), text });
    }
    found
}

/// The commands in the comments of a program or a configuration, in order, each as a block of `sh`.
///
/// They stand in a fenced block of a Rust file's documentation (`//!`), or behind a `$` in any other comment:
///
/// ```text
/// #   $ nginx -p /tmp/site -c /tmp/site/server.conf
/// #   $ curl http://127.0.0.1:8080/hello          # Hello, World!
/// ```
///
/// Lines with a `$` make one block each run; a command may go on behind a backslash at the end of a line.
pub fn commands_in_comments(source: &str) -> Vec<Block> {
    let mut documentation = String::new();
    let mut found: Vec<Block> = Vec::new();
    let (mut in_block, mut goes_on) = (false, false);
    for (index, line) in source.lines().enumerate() {
        let text = line.trim_start();
        if let Some(text) = text.strip_prefix("//!") {
            documentation.push_str(text.strip_prefix(' ').unwrap_or(text));
            documentation.push('\n');
            continue;
        }
        documentation.push('\n');
        let text = without_mark(text);
        let command = match text.strip_prefix("$ ") {
            Some(command) => command,
            None if goes_on => text,
            None => {
                in_block = false;
                continue;
            }
        };
        if !in_block {
            found.push(Block { line: index + 1, language: "sh".into(), words: Vec::new(), text: String::new() });
            in_block = true;
        }
        goes_on = command.ends_with('\\');
        let block = found.last_mut().expect("pushed above");
        block.text.push_str(command);
        block.text.push('\n');
    }
    found.extend(blocks(&documentation).into_iter().filter(|block| block.language == "sh"));
    found.sort_by_key(|block| block.line);
    found
}

/// A line without the mark of a comment. The lines of a docstring have none: they may begin with a path.
fn without_mark(line: &str) -> &str {
    let marks = ["//", "/*", "*", "#", ";", "\"\"\""];
    marks.iter().find_map(|mark| line.strip_prefix(mark)).unwrap_or(line).trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_blocks_with_their_words() {
        let page =
            "# Title\n```sh root file=/a=b\ncargo run\n```\ntext\n````\n```\n````\n```rust\nfn main() {}\n\n```\n";
        let [demo, bare, rust] = &blocks(page)[..] else { panic!("not three blocks") };
        assert_eq!((demo.line, &demo.language[..], &demo.text[..]), (2, "sh", "cargo run\n"));
        assert!(demo.has("root") && !demo.has("file") && !demo.has("sh"));
        assert_eq!((demo.value("file"), demo.value("root"), demo.value("fi")), (Some("/a=b"), None, None));
        assert_eq!((&bare.language[..], &bare.text[..]), ("", "```\n"));
        assert_eq!((rust.words.len(), &rust.text[..]), (0, "fn main() {}\n\n"));
    }

    #[track_caller]
    fn check_commands(source: &str, want: &[(usize, &str)]) {
        let found = commands_in_comments(source);
        let found: Vec<_> = found.iter().map(|block| (block.line, &block.text[..])).collect();
        assert_eq!(found, want);
    }

    #[test]
    fn finds_commands_in_comments() {
        check_commands(
            "#!/bin/sh\n# Text:\n#   $ one\n#   $ two \\\n#       three\n# Text.\n#   $ four\nx=$ y\n",
            &[(3, "one\ntwo \\\nthree\n"), (7, "four\n")],
        );
        check_commands("<?php\n// $ php\n", &[(2, "php\n")]);
        check_commands("\"\"\"Text.\n\n    $ python\n\"\"\"\n", &[(3, "python\n")]);
        check_commands("    $ run \\\n        /usr/bin/python\n", &[(1, "run \\\n/usr/bin/python\n")]);
        check_commands("/* $ cc \\\n *   \"$X\"\n */\n", &[(1, "cc \\\n\"$X\"\n")]);
        check_commands(
            "//! Text\n//!\n//! ```sh\n//! cargo run\n//! ```\n//! ```text\n//! no\n//! ```\nfn main() {}\n",
            &[(3, "cargo run\n")],
        );
    }
}
