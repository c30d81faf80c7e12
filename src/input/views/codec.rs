//! Views as bytes, each told by what differs from the one before: for the catalog, and for the spool.
//!
//! A record is `shared << 3 | tag` (how many bytes of the path are those of the path before), the rest of
//! the path, the size, and by tag what the place takes. Numbers are varints. A view of a folder takes two
//! bytes more than its name and size, the next view of one archive about ten more than that.

use super::view::{Member, Place, View};
use crate::error::{Context, Error, Result};
use crate::input::archive::{Extent, Form, Inflated};
use crate::plan::bytes::{Reader, put_bytes, put_varint};

/// Longest path of a view (`PATH_MAX` of Linux), so that a damaged one cannot ask for unbounded memory.
pub const PATH_BYTES_MAX: usize = 4096;

const FILE: u64 = 0;
const BROKEN: u64 = 1;
/// A member of another archive than the one before.
const OTHER_ARCHIVE: u64 = 2;
/// A member of the same archive; what is above tells its form.
const SAME_ARCHIVE: u64 = 4;
const TAG_BITS: u32 = 3;

/// Writes views, or reads them, one after the other.
#[derive(Clone, Debug, Default)]
pub struct ViewCodec {
    path: Vec<u8>,
    member: Option<Member>,
}

impl ViewCodec {
    /// With a path to compare the first one with.
    pub fn after(path: &str) -> Self {
        Self { path: path.as_bytes().to_vec(), member: None }
    }

    /// Forgets what came before.
    pub fn reset(&mut self) {
        self.path.clear();
        self.member = None;
    }

    /// Appends a view.
    ///
    /// # Errors
    /// Its path is too long.
    pub fn put(&mut self, view: &View, out: &mut Vec<u8>) -> Result<()> {
        let path = view.path.as_bytes();
        if path.len() > PATH_BYTES_MAX {
            let (path, len) = (&view.path, path.len());
            return Err(Error::new(format!("'{path}': a path of {len} bytes (limit {PATH_BYTES_MAX})")));
        }
        let shared = self.path.iter().zip(path).take_while(|(a, b)| a == b).count();
        let before = self.member.filter(|before| shared >= before.archive_len);
        let before = match &view.place {
            Place::Member(member) => before.filter(|before| is_same_archive(before, member)),
            _ => None,
        };
        let tag = match &view.place {
            Place::File => FILE,
            Place::Broken(_) => BROKEN,
            Place::Member(member) if before.is_some() => SAME_ARCHIVE + form_to_number(member.extent.form),
            Place::Member(_) => OTHER_ARCHIVE,
        };
        put_varint(out, (shared as u64) << TAG_BITS | tag);
        put_bytes(out, path.get(shared..).unwrap_or_default());
        put_varint(out, view.bytes);
        match &view.place {
            Place::File => {}
            Place::Broken(why) => put_bytes(out, why.as_bytes()),
            Place::Member(member) => put_member(member, before.as_ref(), view.bytes, out),
        }
        self.path.truncate(shared);
        self.path.extend_from_slice(path.get(shared..).unwrap_or_default());
        self.member = if let Place::Member(member) = view.place { Some(member) } else { None };
        Ok(())
    }

    /// The next view.
    ///
    /// # Errors
    /// The bytes are no view.
    pub fn get(&mut self, reader: &mut Reader<'_>) -> Result<View> {
        let head = reader.varint()?;
        let (shared, tag) = (head >> TAG_BITS, head & ((1 << TAG_BITS) - 1));
        let rest = reader.bytes()?;
        if shared > self.path.len() as u64 || shared as usize + rest.len() > PATH_BYTES_MAX {
            return Err(Error::new("a path that cannot be"));
        }
        self.path.truncate(shared as usize);
        self.path.extend_from_slice(rest);
        let path = std::str::from_utf8(&self.path).context(|| "a path that is not UTF-8")?.to_owned();
        let bytes = reader.varint()?;
        let place = match tag {
            FILE => Place::File,
            BROKEN => Place::Broken(reader.str()?.to_owned()),
            OTHER_ARCHIVE => Place::Member(get_other_archive(reader, bytes)?),
            tag => {
                let before = self.member.ok_or_else(|| Error::new("a member of no archive"))?;
                let form = form_of_number(tag.wrapping_sub(SAME_ARCHIVE))?;
                let extent = get_extent(reader, end_of(&before.extent), form, bytes)?;
                Place::Member(Member { extent, ..before })
            }
        };
        self.member = if let Place::Member(member) = place { Some(member) } else { None };
        if self.member.is_some_and(|member| !path.is_char_boundary(member.archive_len)) {
            return Err(Error::new("an archive's path that cannot be"));
        }
        Ok(View { path, bytes, place })
    }
}

fn is_same_archive(one: &Member, other: &Member) -> bool {
    (one.archive_len, one.archive_bytes, one.inflated)
        == (other.archive_len, other.archive_bytes, other.inflated)
}

fn put_member(member: &Member, before: Option<&Member>, bytes: u64, out: &mut Vec<u8>) {
    if let Some(before) = before {
        put_extent(&member.extent, end_of(&before.extent), bytes, out);
        return;
    }
    put_varint(out, member.archive_len as u64);
    put_varint(out, member.archive_bytes);
    put_varint(out, form_to_number(member.extent.form) << 1 | u64::from(member.inflated.is_some()));
    if let Some(inner) = &member.inflated {
        put_varint(out, inner.bytes);
        put_extent(&inner.extent, 0, inner.bytes, out);
    }
    put_extent(&member.extent, 0, bytes, out);
}

fn get_other_archive(reader: &mut Reader<'_>, bytes: u64) -> Result<Member> {
    let (archive_len, archive_bytes, form) = (reader.varint()?, reader.varint()?, reader.varint()?);
    let archive_len = usize::try_from(archive_len).context(|| "an archive's path that cannot be")?;
    let inflated = if form & 1 == 0 {
        None
    } else {
        let bytes = reader.varint()?;
        Some(Inflated { extent: get_extent(reader, 0, Form::ZipDeflated, bytes)?, bytes })
    };
    let extent = get_extent(reader, 0, form_of_number(form >> 1)?, bytes)?;
    Ok(Member { archive_len, archive_bytes, inflated, extent })
}

/// Place relative to `after`, forwards or back; size where it is not that of the content; checksum.
fn put_extent(extent: &Extent, after: u64, bytes: u64, out: &mut Vec<u8>) {
    let step = extent.at.wrapping_sub(after).cast_signed();
    put_varint(out, (step << 1 ^ step >> 63).cast_unsigned());
    if extent.form == Form::ZipDeflated {
        put_varint(out, extent.stored);
    } else {
        debug_assert_eq!(extent.stored, bytes);
    }
    out.extend_from_slice(&extent.check.to_le_bytes());
}

fn get_extent(reader: &mut Reader<'_>, after: u64, form: Form, bytes: u64) -> Result<Extent> {
    let step = reader.varint()?;
    let step = (step >> 1).cast_signed() ^ -(step & 1).cast_signed();
    let at = after.wrapping_add(step.cast_unsigned());
    let stored = if form == Form::ZipDeflated { reader.varint()? } else { bytes };
    Ok(Extent { at, stored, form, check: reader.u32()? })
}

fn end_of(extent: &Extent) -> u64 {
    extent.at.wrapping_add(extent.stored)
}

fn form_to_number(form: Form) -> u64 {
    match form {
        Form::Tar => 0,
        Form::ZipStored => 1,
        Form::ZipDeflated => 2,
    }
}

fn form_of_number(number: u64) -> Result<Form> {
    match number {
        0 => Ok(Form::Tar),
        1 => Ok(Form::ZipStored),
        2 => Ok(Form::ZipDeflated),
        _ => Err(Error::new("a member of an archive of a form that is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(archive: &str, name: &str, bytes: u64, extent: Extent, inflated: Option<Inflated>) -> View {
        let archive_len = archive.len();
        let place = Place::Member(Member { archive_len, archive_bytes: 1 << 33, inflated, extent });
        View { path: format!("{archive}/{name}"), bytes, place }
    }

    fn views() -> Vec<View> {
        let extent = |at, stored, form| Extent { at, stored, form, check: 0xdead_beef };
        let inflated = Inflated { extent: extent(77, 5, Form::ZipDeflated), bytes: 900 };
        vec![
            View::file("a/1.png", 10),
            View::file("a/2.png", 0),
            member("a.tar", "a/1.png", 700, extent(512, 700, Form::Tar), None),
            member("a.tar", "a/2.png", 900, extent(5 << 40, 900, Form::Tar), None),
            member("a.tar", "a/3.png", 1, extent(0, 1, Form::Tar), None),
            member("b.zip", "1.png", 100, extent(30, 100, Form::ZipStored), None),
            member("b.zip", "2.png", 100, extent(u64::MAX, 60, Form::ZipDeflated), None),
            member("b.zip", "in.zip/2.png", 100, extent(3, 60, Form::ZipDeflated), Some(inflated)),
            member("b.zip", "in.zip/3.png", 100, extent(90, 100, Form::ZipStored), Some(inflated)),
            View { path: "c.tar".to_owned(), bytes: 0, place: Place::Broken("it is empty".to_owned()) },
            member("ü.zip", "1.png", 0, extent(1, 0, Form::ZipStored), None),
        ]
    }

    #[test]
    fn views_come_back() {
        let (mut out, mut codec) = (Vec::new(), ViewCodec::after("a/"));
        for view in views() {
            codec.put(&view, &mut out).unwrap();
        }
        let (mut reader, mut codec) = (Reader::new(&out), ViewCodec::after("a/"));
        for view in views() {
            assert_eq!(codec.get(&mut reader).unwrap(), view);
        }
        assert!(reader.is_empty());
    }

    #[test]
    fn the_next_view_of_an_archive_takes_a_few_bytes() {
        let (mut out, mut codec) = (Vec::new(), ViewCodec::default());
        let view = |view: u64| {
            let at = view * 400_000;
            let extent = Extent { at, stored: 90_000, form: Form::Tar, check: 1 };
            let name = format!("10002/campos_512_v4/{view:05}/{view:05}.png");
            member("0/10002.tar", &name, 90_000, extent, None)
        };
        let mut lengths = (0..40).map(|i| {
            out.clear();
            codec.put(&view(i), &mut out).unwrap();
            out.len()
        });
        assert!(lengths.next().unwrap() < 80);
        assert!(lengths.all(|len| len <= 26));
    }

    #[test]
    fn hostile_bytes_are_refused_and_never_panic() {
        let (mut out, mut codec) = (Vec::new(), ViewCodec::default());
        for view in views() {
            codec.put(&view, &mut out).unwrap();
        }
        for at in 0..out.len() {
            for bit in 0..8 {
                let mut bytes = out.clone();
                bytes[at] ^= 1 << bit;
                let (mut reader, mut codec) = (Reader::new(&bytes), ViewCodec::default());
                while !reader.is_empty() && codec.get(&mut reader).is_ok() {}
            }
        }
        assert!(ViewCodec::default().get(&mut Reader::new(&[1 << 3, 0, 0])).is_err(), "shares nothing");
        assert!(ViewCodec::default().get(&mut Reader::new(&[4, 0, 0, 0, 0, 0, 0, 0])).is_err(), "no archive");
        let long = View::file("x".repeat(PATH_BYTES_MAX + 1), 0);
        assert!(ViewCodec::default().put(&long, &mut Vec::new()).is_err());
    }
}
