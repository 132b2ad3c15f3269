//! Archives that `ADD` unpacks: known by what is in them, not by their names (Dockerfile reference).

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek},
    path::Path,
};

/// Bytes that an xz decoder may take: enough for every preset (`xz -9` needs 65 MiB), whatever a stranger's file says.
const XZ_MEMORY_KIB: u32 = 128 << 10;

/// The tar archive that a file is, compressed or not; `None` if it is something else.
pub fn open(path: &Path) -> io::Result<Option<Box<dyn Read>>> {
    let file = File::open(path)?;
    if begins_tar(&mut unpressed(&file)?) { unpressed(&file).map(Some) } else { Ok(None) }
}

/// Whether a first header's checksum holds. What comes behind it isn't read here: it can be made to be huge.
fn begins_tar(reader: &mut impl Read) -> bool {
    let mut block = [0; 512];
    if reader.read_exact(&mut block).is_err() {
        return false;
    }
    let wanted = tar::Header::from_byte_slice(&block).cksum().ok();
    // The checksum itself counts as blanks.
    let sum = block[..148].iter().chain(&[b' '; 8]).chain(&block[156..]).map(|byte| u32::from(*byte)).sum();
    wanted == Some(sum)
}

/// What is in a file, from its beginning.
fn unpressed(file: &File) -> io::Result<Box<dyn Read>> {
    let mut file = BufReader::new(file.try_clone()?);
    let mut magic = [0; 6];
    file.rewind()?;
    let length = file.read(&mut magic)?;
    file.rewind()?;
    Ok(match &magic[..length] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Box::new(lzma_rust2::XzReader::new_mem_limit(file, true, XZ_MEMORY_KIB)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(file)?),
        _ => Box::new(file),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8]) -> Option<Vec<u8>> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(bytes).expect("written");
        let mut out = Vec::new();
        open(file.path()).expect("read").map(|mut tar| tar.read_to_end(&mut out).expect("unpressed"))?;
        Some(out)
    }

    #[test]
    fn archives_are_known_by_what_is_in_them() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        tar.append_data(&mut header, "a", &b"one"[..]).expect("an entry");
        let tar = tar.into_inner().expect("a tar");
        let gzip = |bytes: &[u8]| {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(bytes).expect("written");
            out.finish().expect("pressed")
        };
        let mut bzip = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip.write_all(&tar).expect("written");
        for packed in
            [tar.clone(), gzip(&tar), bzip.finish().expect("pressed"), zstd::encode_all(&tar[..], 1).expect("pressed")]
        {
            assert_eq!(read(&packed), Some(tar.clone()));
        }
        for other in [&b""[..], b"text", &[0; 1024], &gzip(b"text"), &tar[1..], b"BZh9", b"\xfd7zXZ\0\0\0"] {
            assert_eq!(read(other), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_file_is_an_archive_or_none(bytes: Vec<u8>, magic in 0..4_usize) {
            let magic = [&b""[..], b"\x1f\x8b\x08", b"BZh1", b"\xfd7zXZ\0"][magic];
            proptest::prop_assert_eq!(read(&[magic, &bytes].concat()), None);
        }
    }
}
