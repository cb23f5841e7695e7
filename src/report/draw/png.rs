//! SVG as pixels.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use crate::error::{Error, Result};

/// Pixels for each of the SVG's.
const SCALE: f32 = 2.0;
/// The program's own font, since a machine may have none.
static FONT: &[u8] = include_bytes!("../../../data/font/DejaVuSans.ttf");

/// A PNG file of an SVG document.
///
/// # Errors
/// When it cannot be drawn.
pub(super) fn rendered(svg: &str) -> Result<Vec<u8>> {
    let mut fonts = fontdb::Database::new();
    fonts.load_font_data(FONT.to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    let options = Options { fontdb: Arc::new(fonts), font_family: "DejaVu Sans".into(), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|e| error(&e))?;
    let size = tree.size().to_int_size().scale_by(SCALE).ok_or_else(|| error(&"it is too large"))?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or_else(|| error(&"it is too large"))?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| error(&e))
}

fn error(e: &dyn std::fmt::Display) -> Error {
    Error::Report(format!("a figure cannot be drawn: {e}"))
}
