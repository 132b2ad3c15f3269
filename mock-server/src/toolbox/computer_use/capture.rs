//! Pictures of the screen.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt},
};

use nix::sys::memfd::{MFdFlags, memfd_create};
use x11rb::{
    connection::Connection,
    protocol::{
        shm::{self, ConnectionExt as _},
        xfixes::ConnectionExt as _,
        xproto::{ConnectionExt as _, ImageFormat},
    },
    rust_connection::RustConnection,
};

use super::display::{Display, Position, Trouble};

/// Bytes of a pixel as the server sends it: blue, green, red, nothing.
const PIXEL: usize = 4;

/// Pixels of one picture.
const MAX_PIXELS: u64 = 32 << 20;

/// A part of the screen, or more than it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    pub x: i32,
    pub y: i32,
    pub width: u32,
    pub height: u32,
}

/// A picture: three bytes a pixel, line by line.
pub struct Picture {
    pub width: u32,
    pub height: u32,
    pub rgb: Vec<u8>,
}

/// Memory that the server writes pictures to. It is read like a file, so nothing needs to be mapped.
pub struct Shared {
    segment: shm::Seg,
    memory: File,
}

impl Shared {
    /// Room for a picture of the whole screen.
    pub fn new(conn: &RustConnection, width: u16, height: u16) -> Result<Shared, Trouble> {
        let memory: OwnedFd = memfd_create(c"screen", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from)?;
        let memory = File::from(memory);
        memory.set_len(u64::from(width) * u64::from(height) * PIXEL as u64)?;
        conn.shm_query_version()?.reply()?;
        let segment = conn.generate_id()?;
        conn.shm_attach_fd(segment, OwnedFd::from(memory.try_clone()?), false)?.check()?;
        Ok(Shared { segment, memory })
    }
}

impl Display {
    pub fn whole(&self) -> Area {
        Area { x: 0, y: 0, width: self.width.into(), height: self.height.into() }
    }

    /// A picture of an area, with or without the pointer. What lies outside of the screen is black.
    pub fn picture(&self, area: Area, with_pointer: bool) -> Result<(Picture, Position), Trouble> {
        if u64::from(area.width) * u64::from(area.height) > MAX_PIXELS {
            return Err(Trouble::Refused(format!("a region of more than {MAX_PIXELS} pixels")));
        }
        let mut picture = match self.visible(area) {
            Some(visible) if visible == area => self.pixels(visible)?,
            visible => {
                let rgb = vec![0; area.width as usize * area.height as usize * 3];
                let mut padded = Picture { width: area.width, height: area.height, rgb };
                if let Some(visible) = visible {
                    let at = ((visible.x - area.x) as usize, (visible.y - area.y) as usize);
                    padded.paste(&self.pixels(visible)?, at);
                }
                padded
            }
        };
        let position = if with_pointer { self.draw_pointer(&mut picture, area)? } else { Position::default() };
        self.drain()?;
        Ok((picture, position))
    }

    /// The part of an area that is on the screen.
    fn visible(&self, area: Area) -> Option<Area> {
        let clip = |from: i32, length: u32, screen: u16| {
            let (from, to) = (i64::from(from), i64::from(from) + i64::from(length));
            let (first, last) = (from.clamp(0, screen.into()), to.clamp(0, screen.into()));
            (first < last).then_some((first as i32, (last - first) as u32))
        };
        let (x, width) = clip(area.x, area.width, self.width)?;
        let (y, height) = clip(area.y, area.height, self.height)?;
        Some(Area { x, y, width, height })
    }

    fn pixels(&self, area: Area) -> Result<Picture, Trouble> {
        let shared = self.shared.lock();
        let (x, y, width, height) = (area.x as i16, area.y as i16, area.width as u16, area.height as u16);
        let bytes = match &*shared {
            Some(Shared { segment, memory }) => {
                let format = ImageFormat::Z_PIXMAP.into();
                let taken = self.conn.shm_get_image(self.root, x, y, width, height, !0, format, *segment, 0)?;
                let size = taken.reply()?.size as usize;
                let mut bytes = vec![0; size];
                memory.read_exact_at(&mut bytes, 0)?;
                bytes
            }
            None => self.conn.get_image(ImageFormat::Z_PIXMAP, self.root, x, y, width, height, !0)?.reply()?.data,
        };
        drop(shared);
        if bytes.len() != area.width as usize * area.height as usize * PIXEL {
            return Err(io::Error::other("the screen isn't one of 24 bits a pixel").into());
        }
        Ok(Picture { width: area.width, height: area.height, rgb: to_rgb(&bytes) })
    }

    fn draw_pointer(&self, picture: &mut Picture, area: Area) -> Result<Position, Trouble> {
        let pointer = self.conn.xfixes_get_cursor_image()?.reply()?;
        let (left, top) =
            (i32::from(pointer.x) - i32::from(pointer.xhot), i32::from(pointer.y) - i32::from(pointer.yhot));
        for (at, &argb) in pointer.cursor_image.iter().enumerate() {
            let width = usize::from(pointer.width).max(1);
            picture.blend(left - area.x + (at % width) as i32, top - area.y + (at / width) as i32, argb);
        }
        Ok(Position { x: pointer.x.into(), y: pointer.y.into() })
    }
}

fn to_rgb(bgrx: &[u8]) -> Vec<u8> {
    let mut rgb = vec![0; bgrx.len() / PIXEL * 3];
    for (to, from) in rgb.chunks_exact_mut(3).zip(bgrx.chunks_exact(PIXEL)) {
        to.copy_from_slice(&[from[2], from[1], from[0]]);
    }
    rgb
}

impl Picture {
    /// Puts another one, which must fit, into this one.
    fn paste(&mut self, other: &Picture, (x, y): (usize, usize)) {
        let (own, line) = (self.width as usize * 3, other.width as usize * 3);
        for (row, pixels) in other.rgb.chunks_exact(line).enumerate() {
            let from = (y + row) * own + x * 3;
            self.rgb[from..from + line].copy_from_slice(pixels);
        }
    }

    /// Lays a pixel whose colours are multiplied by its opacity over one of these, if that is there.
    fn blend(&mut self, x: i32, y: i32, argb: u32) {
        let inside = |n: i32, length: u32| usize::try_from(n).ok().filter(|&n| n < length as usize);
        let (Some(x), Some(y)) = (inside(x, self.width), inside(y, self.height)) else { return };
        let at = (y * self.width as usize + x) * 3;
        let [alpha, colours @ ..] = argb.to_be_bytes();
        for (under, over) in self.rgb[at..at + 3].iter_mut().zip(colours) {
            let kept = u32::from(*under) * (255 - u32::from(alpha)) / 255;
            *under = (kept + u32::from(over)).min(255) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_pasted_and_blended() {
        let mut picture = Picture { width: 3, height: 2, rgb: vec![0; 18] };
        picture.paste(&Picture { width: 1, height: 1, rgb: to_rgb(&[3, 2, 1, 0]) }, (2, 1));
        assert_eq!(picture.rgb[15..], [1, 2, 3]);
        picture.blend(0, 0, 0xFFFF_0102);
        picture.blend(2, 1, 0x8000_0000);
        picture.blend(-1, 0, !0);
        picture.blend(3, 1, !0);
        assert_eq!((&picture.rgb[..3], &picture.rgb[15..]), (&[255, 1, 2][..], &[0, 0, 1][..]));
    }
}
