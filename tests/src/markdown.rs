//! The examples in README.md.

/// A fenced code block.
///
/// ````text
/// ```rust test=app
/// fn main() {}
/// ```
/// ````
///
/// The word after the fence is the language, for whoever shows the page; `test=NAME` names the test that executes
/// the block, and is seen by nobody.
#[derive(Debug, PartialEq)]
pub struct Block {
    /// The line of its opening fence, from 1.
    pub line: usize,
    /// Such as `rust`; empty when there is none.
    pub language: String,
    /// The NAME of `test=NAME`.
    pub test: Option<String>,
    /// What is between the fences.
    pub text: String,
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
        let mut words = info.split([' ', ',']).filter(|word| !word.is_empty());
        let language = words.next().unwrap_or_default().to_owned();
        let test = words.find_map(|word| word.strip_prefix("test=")).map(str::to_owned);
        found.push(Block { line: number + 1, language, test, text });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_their_names() {
        let page = "# Title\n```sh test=demo\ncargo run\n```\ntext\n````\n```\n````\n```rust\nfn main() {}\n\n```\n";
        let [demo, bare, rust] = &blocks(page)[..] else { panic!("not three blocks") };
        assert_eq!((demo.line, &demo.language[..], demo.test.as_deref()), (2, "sh", Some("demo")));
        assert_eq!(demo.text, "cargo run\n");
        assert_eq!((&bare.language[..], &bare.text[..]), ("", "```\n"));
        assert_eq!((rust.test.as_deref(), &rust.text[..]), (None, "fn main() {}\n\n"));
    }
}
