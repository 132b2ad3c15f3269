//! Files of pictures.

use std::io::{self, Cursor};

use image::{
    ExtendedColorType, ImageEncoder, RgbImage,
    codecs::{
        png::{CompressionType, FilterType, PngEncoder},
        webp::WebPEncoder,
    },
    imageops,
};
use jpeg_encoder::{ColorType, Encoder};

use super::{capture::Picture, display::Trouble};

/// As SDKs name them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Png,
    Jpeg,
    /// Without loss.
    WebP,
}

impl Format {
    pub fn of(name: &str) -> Option<Format> {
        Some(match name.to_ascii_lowercase().as_str() {
            "png" => Format::Png,
            "jpeg" | "jpg" => Format::Jpeg,
            "webp" => Format::WebP,
            _ => return None,
        })
    }
}

/// How a picture is made small.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compression {
    pub format: Format,
    /// Of JPEG, 1 to 100.
    pub quality: u8,
    /// 0.1 to 1.
    pub scale: f64,
}

/// Fast, as screens compress well anyhow.
pub fn png(picture: &Picture) -> Result<Vec<u8>, Trouble> {
    let mut file = Vec::with_capacity(256 << 10);
    PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Up)
        .write_image(&picture.rgb, picture.width, picture.height, ExtendedColorType::Rgb8)
        .map_err(io::Error::other)?;
    Ok(file)
}

pub fn compressed(picture: Picture, how: Compression) -> Result<Vec<u8>, Trouble> {
    let picture = scaled(picture, how.scale);
    match how.format {
        Format::Png => png(&picture),
        Format::Jpeg => jpeg(&picture, how.quality),
        Format::WebP => webp(&picture),
    }
}

/// By a crate of its own, which takes a third of the time.
fn jpeg(picture: &Picture, quality: u8) -> Result<Vec<u8>, Trouble> {
    let side = |length: u32| {
        u16::try_from(length).map_err(|_| Trouble::Refused("a JPEG has at most 65535 pixels a side".into()))
    };
    let (width, height) = (side(picture.width)?, side(picture.height)?);
    let mut file = Vec::with_capacity(128 << 10);
    Encoder::new(&mut file, quality).encode(&picture.rgb, width, height, ColorType::Rgb).map_err(io::Error::other)?;
    Ok(file)
}

fn webp(picture: &Picture) -> Result<Vec<u8>, Trouble> {
    let mut file = Cursor::new(Vec::with_capacity(128 << 10));
    WebPEncoder::new_lossless(&mut file)
        .write_image(&picture.rgb, picture.width, picture.height, ExtendedColorType::Rgb8)
        .map_err(io::Error::other)?;
    Ok(file.into_inner())
}

/// Each pixel is the mean of those that it stands for.
fn scaled(picture: Picture, scale: f64) -> Picture {
    let size = |length: u32| ((f64::from(length) * scale).round() as u32).max(1);
    let (width, height) = (size(picture.width), size(picture.height));
    if (width, height) == (picture.width, picture.height) {
        return picture;
    }
    let whole = RgbImage::from_raw(picture.width, picture.height, picture.rgb).expect("three bytes a pixel");
    Picture { width, height, rgb: imageops::thumbnail(&whole, width, height).into_raw() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        Picture { width: 40, height: 20, rgb: (0..40 * 20 * 3).map(|n| (n % 251) as u8).collect() }
    }

    #[test]
    fn every_format_can_be_read() {
        for (name, exact) in [("png", true), ("JPEG", false), ("webp", true)] {
            let format = Format::of(name).expect("known");
            let file = compressed(picture(), Compression { format, quality: 90, scale: 1.0 }).expect("written");
            let read = image::load_from_memory(&file).expect("a picture").to_rgb8();
            assert_eq!((read.width(), read.height()), (40, 20));
            assert!(!exact || *read.as_raw() == picture().rgb, "{name}");
        }
        assert_eq!(Format::of("gif"), None);
    }

    #[test]
    fn scales_are_of_both_sides() {
        let half = scaled(picture(), 0.5);
        assert_eq!((half.width, half.height, half.rgb.len()), (20, 10, 600));
        let tiny = scaled(Picture { width: 1, height: 3, rgb: vec![7; 9] }, 0.1);
        assert_eq!((tiny.width, tiny.height, tiny.rgb), (1, 1, vec![7; 3]));
    }
}
