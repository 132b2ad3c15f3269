//! Compresses what the web terminal serves, so that it costs the program little.

use std::{env, fs, io::Write, path::Path};

use flate2::{Compression, write::GzEncoder};

const ASSETS: [&str; 6] = [
    "terminal/terminal.css",
    "terminal/terminal.js",
    "xterm/addon-fit.mjs",
    "xterm/addon-unicode11.mjs",
    "xterm/xterm.css",
    "xterm/xterm.mjs",
];

fn main() {
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    for asset in ASSETS {
        let source = Path::new("assets").join(asset);
        println!("cargo::rerun-if-changed={}", source.display());
        let content = fs::read(&source).expect("the asset is in the repository");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&content).expect("memory");
        let name = format!("{}.gz", source.file_name().expect("a file").display());
        fs::write(Path::new(&out).join(name), encoder.finish().expect("memory")).expect("OUT_DIR can be written");
    }
}
