//! How Lustre lays out new files of a folder: one file on one server is written no faster than that server.

use std::path::Path;

use super::ask::ask;
use super::finding::Finding;

/// Kinds of `struct lov_user_md`, by their first four bytes (lustre_user.h).
const PLAIN: [u32; 2] = [0x0BD1_0BD0, 0x0BD3_0BD0];
const COMPOSITE: u32 = 0x0BD6_0BD0;

/// How files of a folder are striped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Striping {
    /// Over so many servers.
    Over(u32),
    OverAll,
    /// By size (progressive file layout): grows with the file.
    Progressive,
}

/// The striping of new files of `folder`, with advice.
pub fn striping(folder: &Path) -> Finding {
    let advice = format!("before the first job: lfs setstripe -c -1 -S 4M '{}'", folder.display());
    let told = ask("lfs", &["getstripe", "-d", &folder.to_string_lossy()]).and_then(|text| of_lfs(&text));
    match told.or_else(|| attribute(folder)) {
        Some(Striping::Over(1)) => Finding::warning(
            "striping",
            "Lustre puts each new file of this folder on one server (stripe count 1), which all ranks then share",
            advice,
        ),
        Some(Striping::Over(count)) => {
            Finding::ok("striping", format!("Lustre stripes new files over {count} servers"))
        }
        Some(Striping::OverAll) => Finding::ok("striping", "Lustre stripes new files over all servers"),
        Some(Striping::Progressive) => {
            Finding::ok("striping", "Lustre stripes new files by their size (progressive layout)")
        }
        None => Finding::warning(
            "striping",
            "how Lustre stripes new files of this folder cannot be told; the default is often one server",
            advice,
        ),
    }
}

/// From what `lfs getstripe -d` prints.
fn of_lfs(text: &str) -> Option<Striping> {
    if text.contains("lcm_layout_gen") || text.contains("lcme_") {
        return Some(Striping::Progressive);
    }
    let mut words = text.split_whitespace().skip_while(|word| *word != "stripe_count:").skip(1);
    match words.next()?.parse::<i64>().ok()? {
        -1 => Some(Striping::OverAll),
        count => Some(Striping::Over(u32::try_from(count).ok()?)),
    }
}

/// From the attribute that Lustre keeps it in.
fn attribute(folder: &Path) -> Option<Striping> {
    let mut buffer = vec![0; 4096];
    let length = rustix::fs::getxattr(folder, "lustre.lov", &mut buffer[..]).ok()?;
    of_attribute(buffer.get(..length)?)
}

/// `lmm_magic` (u32) is at 0, `lmm_stripe_count` (u16) at 28 of `struct lov_user_md_v1`, little-endian.
fn of_attribute(bytes: &[u8]) -> Option<Striping> {
    let magic = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    if magic == COMPOSITE {
        return Some(Striping::Progressive);
    }
    let count = u16::from_le_bytes(bytes.get(28..30)?.try_into().ok()?);
    match count {
        _ if !PLAIN.contains(&magic) => None,
        u16::MAX => Some(Striping::OverAll),
        count => Some(Striping::Over(count.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn striping_as_lfs_tells_it() {
        let told = |count: &str| {
            of_lfs(&format!(
                "stripe_count:  {count} stripe_size:   1048576 pattern: raid0 stripe_offset: -1\n"
            ))
        };
        assert_eq!(told("1"), Some(Striping::Over(1)));
        assert_eq!(told("-1"), Some(Striping::OverAll));
        assert_eq!(
            of_lfs("  lcm_layout_gen:    0\n  lcme_id: N/A\n  stripe_count: 1"),
            Some(Striping::Progressive)
        );
        assert_eq!(of_lfs("error"), None);
    }

    #[test]
    fn striping_as_the_attribute_has_it() {
        let attribute = |magic: u32, count: u16| {
            let mut bytes = vec![0; 32];
            bytes[..4].copy_from_slice(&magic.to_le_bytes());
            bytes[28..30].copy_from_slice(&count.to_le_bytes());
            of_attribute(&bytes)
        };
        assert_eq!(attribute(PLAIN[0], 1), Some(Striping::Over(1)));
        assert_eq!(attribute(PLAIN[1], 8), Some(Striping::Over(8)));
        assert_eq!(attribute(PLAIN[0], u16::MAX), Some(Striping::OverAll));
        assert_eq!(attribute(COMPOSITE, 0), Some(Striping::Progressive));
        assert_eq!(attribute(7, 1), None);
        assert_eq!(of_attribute(&[0; 8]), None);
    }
}
