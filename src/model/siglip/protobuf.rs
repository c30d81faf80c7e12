//! Just enough of two encodings to read a tokenizer: protocol buffers' wire format, and base64.

/// The value of one field.
pub enum Field<'a> {
    Number(u64),
    Float(f32),
    Bytes(&'a [u8]),
    /// A 64-bit value, which no field of interest has.
    Other,
}

/// The fields of a message, by number, in order. Ends after the first that is broken.
pub fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<(u64, Field<'_>), String>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or_else(|| "not a sound protocol buffer".to_owned()))
    })
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Field::Number(varint(rest)?),
        1 => {
            take(rest, 8)?;
            Field::Other
        }
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Field::Bytes(take(rest, length)?)
        }
        5 => Field::Float(f32::from_le_bytes(take(rest, 4)?.try_into().ok()?)),
        _ => return None,
    };
    Some((key >> 3, value))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Decodes standard base64 (RFC 4648, section 4).
///
/// # Errors
/// A character outside its alphabet.
pub fn base64(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return Err("not base64".to_owned()),
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9vYmFy", "foobar")] {
            assert_eq!(base64(text), Ok(bytes.as_bytes().to_vec()));
        }
        assert_eq!(base64("+/8="), Ok(vec![0xfb, 0xff]));
        assert!(base64("a-b_").is_err());
    }

    #[test]
    fn fields_of_a_message() {
        // field 1: varint 300; field 2: "hi"; field 3: 1.5 as a float; field 4: 64 bits
        let message = b"\x08\xac\x02\x12\x02hi\x1d\0\0\xc0\x3f\x21\0\0\0\0\0\0\0\0";
        let found: Result<Vec<_>, _> = fields(message).collect();
        let found = found.expect("sound");
        assert!(matches!(found[0], (1, Field::Number(300))));
        assert!(matches!(found[1], (2, Field::Bytes(b"hi"))));
        assert!(matches!(found[2], (3, Field::Float(1.5))));
        assert!(matches!(found[3], (4, Field::Other)));
    }

    #[test]
    fn broken_messages_end() {
        for message in
            [&b"\x12\xff\x01x"[..], b"\x0b", b"\x08", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
        {
            assert!(fields(message).any(|field| field.is_err()));
        }
    }
}
