//! A directory as the kernel's first file system: a cpio archive in the `newc` form
//! (Documentation/driver-api/early-userspace/buffer-format.rst). Written here, since it is thirty
//! lines and everything in it shall belong to root, whoever made the directory.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};

use crate::install;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
/// The name of the last entry.
const TRAILER: &[u8] = b"TRAILER!!!";

/// Writes the directories and regular files below `root` to `archive`.
pub(super) fn write(root: &Path, archive: &Path) -> Result<()> {
    let file =
        File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
    let mut out = BufWriter::new(file);
    let mut number = 0;
    let mut places = vec![root.to_path_buf()];
    while let Some(dir) = places.pop() {
        for path in install::under(&dir) {
            number += 1;
            let name = path.strip_prefix(root)?.as_os_str().as_bytes();
            let about = fs::metadata(&path)?;
            let mode = about.permissions().mode() & 0o777;
            // Python takes what it compiled earlier only where the time of the source is as it was.
            let time = u32::try_from(about.mtime()).unwrap_or(0);
            if path.is_dir() {
                entry(&mut out, number, DIRECTORY | mode, time, name, &[])?;
                places.push(path);
            } else {
                let content =
                    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                entry(&mut out, number, REGULAR | mode, time, name, &content)?;
            }
        }
    }
    entry(&mut out, 0, 0, 0, TRAILER, &[])?;
    out.flush().context("the archive was not written")
}

/// One entry: a header of hexadecimal numbers, the name, the content, each padded to four bytes.
fn entry(
    out: &mut impl Write,
    number: u32,
    mode: u32,
    time: u32,
    name: &[u8],
    content: &[u8],
) -> Result<()> {
    let length = u32::try_from(content.len()).context("a file too large for an archive")?;
    let name_length = u32::try_from(name.len() + 1).context("a name too long for an archive")?;
    out.write_all(b"070701")?;
    // Number, mode, uid, gid, links, time, length, device (4), length of the name, checksum.
    let fields = [
        number,
        mode,
        0,
        0,
        1,
        time,
        length,
        0,
        0,
        0,
        0,
        name_length,
        0,
    ];
    for field in fields {
        write!(out, "{field:08x}")?;
    }
    out.write_all(name)?;
    out.write_all(&[0])?;
    // The header is 110 bytes.
    pad(out, 110 + name.len() + 1)?;
    out.write_all(content)?;
    pad(out, content.len())?;
    Ok(())
}

fn pad(out: &mut impl Write, length: usize) -> io::Result<()> {
    let missing = length.next_multiple_of(4) - length;
    out.write_all([0; 3].get(..missing).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_padded_to_four_bytes_twice() {
        let mut out = Vec::new();
        entry(&mut out, 1, REGULAR | 0o755, 0, b"init", b"hello").unwrap();
        let header = "070701000000010000\
                      81ed000000000000000000000001000000000000000500000000000000000000000000000000\
                      0000000500000000";
        let expected = [header.as_bytes(), b"init\0\0", b"hello\0\0\0"].concat();
        assert_eq!(
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&expected)
        );
        assert_eq!(out.len() % 4, 0);
    }
}
