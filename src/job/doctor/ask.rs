//! Asking a tool of the site that may not be there.

use std::process::{Command, Stdio};

/// Seconds after which a tool is ended.
const SECONDS: &str = "5";

/// What a command prints, also where it fails then (`quota` does for who is over it); nothing where it prints
/// nothing, is missing, or does not end soon (coreutils' `timeout`).
pub fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new("timeout")
        .arg(SECONDS)
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .ok()?;
    (!output.stdout.is_empty()).then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_is_not_there_says_nothing() {
        assert_eq!(ask("echo", &["a", "b"]), Some("a b\n".to_owned()));
        assert_eq!(ask("no-such-tool-here", &[]), None);
        assert_eq!(ask("false", &[]), None);
    }
}
