//! As much of tar as `docker cp … -` writes: the small regular files of one folder.

const BLOCK: usize = 512;

/// Why an archive can't be read.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// The archive ends inside a header or a file.
    #[error("the archive is cut off")]
    CutOff,
    /// A header's sum or size is wrong.
    #[error("the archive has a damaged header")]
    Header,
}

/// The content of the first regular file whose last path component is `name`.
///
/// # Errors
/// When the archive is damaged before that file.
pub fn file<'a>(archive: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, Malformed> {
    let mut rest = archive;
    loop {
        let Some((header, body)) = rest.split_at_checked(BLOCK) else {
            return if rest.is_empty() {
                Ok(None)
            } else {
                Err(Malformed::CutOff)
            };
        };
        // The end is marked by blocks of zeros.
        if header.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let entry = Entry::parse(header)?;
        let content = body.get(..entry.size).ok_or(Malformed::CutOff)?;
        if entry.regular && entry.name == name.as_bytes() {
            return Ok(Some(content));
        }
        rest = body
            .get(entry.size.next_multiple_of(BLOCK)..)
            .unwrap_or_default();
    }
}

struct Entry<'a> {
    /// Last path component.
    name: &'a [u8],
    size: usize,
    regular: bool,
}

impl<'a> Entry<'a> {
    /// Reads a header of POSIX ustar (IEEE 1003.1, "ustar Interchange Format").
    fn parse(header: &'a [u8]) -> Result<Self, Malformed> {
        let sum: u64 = header
            .iter()
            .enumerate()
            .map(|(at, &byte)| u64::from(if (148..156).contains(&at) { b' ' } else { byte }))
            .sum();
        if octal(&header[148..156]) != Some(sum) {
            return Err(Malformed::Header);
        }
        let path = text(&header[..100]);
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let size = octal(&header[124..136]).ok_or(Malformed::Header)?;
        Ok(Self {
            name,
            size: usize::try_from(size).map_err(|_| Malformed::Header)?,
            regular: matches!(header[156], b'0' | 0),
        })
    }
}

/// A field up to its first zero byte.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Octal digits, padded by blanks or zero bytes. Twelve digits never overflow.
fn octal(field: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(text(field)).ok()?.trim();
    u64::from_str_radix(digits, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut header = [0u8; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[148..156].fill(b' ');
        header[156] = kind;
        let sum: u64 = header.iter().map(|&b| u64::from(b)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut block = header.to_vec();
        block.extend_from_slice(content);
        block.resize(block.len().next_multiple_of(BLOCK), 0);
        block
    }

    fn archive() -> Vec<u8> {
        let mut bytes = entry("./", b'5', b"");
        bytes.extend(entry("./ca.pem", b'0', &[b'x'; 700]));
        bytes.extend(entry("./token", b'0', b"secret\n"));
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    #[test]
    fn finds_files_by_name() {
        let bytes = archive();
        assert_eq!(file(&bytes, "token"), Ok(Some(&b"secret\n"[..])));
        assert_eq!(file(&bytes, "ca.pem").unwrap().unwrap().len(), 700);
        assert_eq!(file(&bytes, "other"), Ok(None));
        assert_eq!(file(&[], "token"), Ok(None));
    }

    #[test]
    fn takes_no_link_for_a_file() {
        assert_eq!(file(&entry("token", b'2', b""), "token"), Ok(None));
    }

    #[test]
    fn notices_damage() {
        let bytes = archive();
        assert_eq!(file(&bytes[..BLOCK + 9], "token"), Err(Malformed::CutOff));
        assert_eq!(file(&bytes[..3 * BLOCK], "token"), Err(Malformed::CutOff));
        let mut damaged = bytes.clone();
        damaged[3] = b'!';
        assert_eq!(file(&damaged, "token"), Err(Malformed::Header));
    }

    #[test]
    fn reads_what_tar_writes() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "secret").unwrap();
        let run = std::process::Command::new("tar")
            .args(["-C", folder.path().to_str().unwrap(), "-cf", "-", "."])
            .output();
        let Ok(run) = run else {
            println!("SKIP no tar on this machine");
            return;
        };
        assert_eq!(file(&run.stdout, "token"), Ok(Some(&b"secret"[..])));
    }

    proptest! {
        #[test]
        fn never_fails_on_noise(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
            let _ = file(&bytes, "token");
        }
    }
}
