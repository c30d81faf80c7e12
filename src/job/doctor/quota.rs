//! The user's quota where the outputs go, as the site's tools tell it.

use std::path::Path;

use indicatif::HumanBytes;

use super::ask::ask;
use super::finding::Finding;

/// Part of a quota beyond which there is little left.
const NEARLY: f64 = 0.9;

/// One line of a quota: space in KiB and files, each used and its limit (0: none).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Quota {
    used_kib: u64,
    limit_kib: u64,
    files: u64,
    files_limit: u64,
}

/// The quota of this user in `folder`; nothing where no tool tells one.
pub fn examine(folder: &Path, file_system: &str) -> Option<Finding> {
    let user = rustix::process::getuid().as_raw().to_string();
    let path = folder.to_string_lossy();
    let text = if file_system == "lustre" {
        ask("lfs", &["quota", "-q", "-u", &user, &path])
    } else {
        // `-p`: no words for grace, so that columns can be counted; `-w`: one line each.
        ask("quota", &["-w", "-p", "-v", "-f", &path])
    };
    text.as_deref().and_then(parse).map(judge)
}

/// The last line of numbers: file system, then used, quota, limit and grace of space, and again of files.
fn parse(text: &str) -> Option<Quota> {
    let line = text.lines().rev().find(|line| line.split_whitespace().count() >= 9)?;
    // A star marks what is over its quota.
    let number = |word: &str| word.trim_end_matches('*').parse::<u64>().ok();
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    let at = |index: usize| words.get(index).copied().and_then(number);
    let least = |soft: u64, hard: u64| if soft == 0 { hard } else { soft };
    Some(Quota {
        used_kib: at(0)?,
        limit_kib: least(at(1)?, at(2)?),
        files: at(4)?,
        files_limit: least(at(5)?, at(6)?),
    })
}

fn judge(quota: Quota) -> Finding {
    let Quota { used_kib, limit_kib, files, files_limit } = quota;
    let bytes = |kib: u64| HumanBytes(kib.saturating_mul(1024));
    let space = match limit_kib {
        0 => "no limit of space".to_owned(),
        _ => format!("{} of {} used", bytes(used_kib), bytes(limit_kib)),
    };
    let count = match files_limit {
        0 => "no limit of files".to_owned(),
        _ => format!("{files} of {files_limit} files"),
    };
    let what = format!("{space}, {count}");
    let part = |used: u64, limit: u64| if limit == 0 { 0.0 } else { used as f64 / limit as f64 };
    let fullest = part(used_kib, limit_kib).max(part(files, files_limit));
    let next = "compare with what `hyperslab plan` needs; free space, or ask for a larger quota";
    if fullest >= 1.0 {
        Finding::error("quota", what, next)
    } else if fullest > NEARLY {
        Finding::warning("quota", what, next)
    } else {
        Finding::ok("quota", what)
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    #[test]
    fn quotas_as_tools_print_them() {
        let lfs = "     /scratch 9500000*  9000000 10000000       - 120000       0  200000       -\n";
        let expected =
            Quota { used_kib: 9_500_000, limit_kib: 9_000_000, files: 120_000, files_limit: 200_000 };
        assert_eq!(parse(lfs), Some(expected));
        assert_eq!(judge(expected).verdict, Verdict::Error);
        let quota = "Disk quotas for user me (uid 7): \n Filesystem blocks quota limit grace files quota limit grace\n\
                     /dev/sda1 100 0 0 0 95 0 100 0\n";
        let parsed = parse(quota).unwrap();
        assert_eq!(parsed, Quota { used_kib: 100, limit_kib: 0, files: 95, files_limit: 100 });
        assert_eq!(judge(parsed).verdict, Verdict::Warning);
        assert!(judge(parsed).what.contains("no limit of space, 95 of 100 files"));
        assert_eq!(judge(Quota { used_kib: 1, limit_kib: 100, ..Quota::default() }).verdict, Verdict::Ok);
        assert_eq!(parse("Disk quotas for user me (uid 7): none\n"), None);
    }
}
