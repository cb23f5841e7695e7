//! Names beside points, placed so that none covers another name or a point.

use std::f64::consts::TAU;

use super::{LINE, text_width};

/// A rectangle, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::report) struct Area {
    pub(in crate::report) left: f64,
    pub(in crate::report) right: f64,
    pub(in crate::report) top: f64,
    pub(in crate::report) bottom: f64,
}

impl Area {
    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    fn is_within(&self, other: &Self) -> bool {
        self.left >= other.left && self.right <= other.right && self.top >= other.top && self.bottom <= other.bottom
    }

    /// Around a point.
    fn around((x, y): (f64, f64), radius: f64) -> Self {
        Self { left: x - radius, right: x + radius, top: y - radius, bottom: y + radius }
    }
}

/// Pixels that a mark needs around its point.
const MARK: f64 = 6.0;
/// Directions in which a name is tried, and pixels from one ring of tries to the next.
const DIRECTIONS: usize = 32;
const RING: f64 = 5.0;

/// Areas of names for points, each the nearest within `area` that is free of points, other names and, where there is room, of
/// `obstacles`. A name for which there is no room has none; areas that grow with the number of names have room (tested).
pub(in crate::report) fn placed(points: &[((f64, f64), &str)], obstacles: &[Area], area: Area) -> Vec<Option<Area>> {
    let mut taken: Vec<Area> = points.iter().map(|(point, _)| Area::around(*point, MARK)).collect();
    let rings = ((area.right - area.left).max(area.bottom - area.top) / RING) as usize;
    let place = |(point, name): &((f64, f64), &str)| {
        let tries = (0..rings).flat_map(|ring| (0..DIRECTIONS).map(move |direction| (ring, direction)));
        let tries = tries.map(|(ring, direction)| tried(*point, text_width(name), ring, direction));
        let is_free = |tried: &Area, of: &[Area]| !of.iter().any(|taken| taken.overlaps(tried));
        let mut free = tries.filter(|tried| tried.is_within(&area) && is_free(tried, &taken));
        let found = free.clone().find(|tried| is_free(tried, obstacles)).or_else(|| free.next());
        taken.extend(found);
        found
    };
    points.iter().map(place).collect()
}

/// The area of a name so wide, in a direction from its point: to the right first.
fn tried((x, y): (f64, f64), width: f64, ring: usize, direction: usize) -> Area {
    let angle = direction as f64 * TAU / DIRECTIONS as f64;
    let distance = MARK + 2.0 + RING * ring as f64;
    let (cos, sin) = (angle.cos(), angle.sin());
    // The edge that faces the point is so far from it; straight above and below, the name is centred.
    let left = x + distance * cos + width * (cos - 1.0) / 2.0;
    let top = y + distance * sin + LINE * (sin - 1.0) / 2.0;
    Area { left, right: left + width, top, bottom: top + LINE }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points all at one place, in a few clusters and anywhere: every name is placed, and none covers anything.
    #[test]
    fn names_cover_neither_names_nor_points() {
        let names: Vec<String> = (0..30).map(|i| format!("ssam .{i} tensor masked")).collect();
        let scatter = |i: usize| (60.0 + (i * 7919 % 320) as f64, 20.0 + (i * 104_729 % 400) as f64);
        let clusters = |i: usize| (100.0 + (i % 3) as f64 * 90.0, 200.0 + i as f64 / 2.0);
        let area = Area { left: 55.0, right: 400.0, top: 10.0, bottom: 650.0 };
        for (at, is_sparse) in [(scatter as fn(usize) -> _, false), (clusters, false), (|_| (200.0, 200.0), true)] {
            let points: Vec<((f64, f64), &str)> =
                names.iter().enumerate().map(|(i, name)| (at(i), name.as_str())).collect();
            let bars: Vec<Area> = points
                .iter()
                .map(|((x, y), _)| Area { left: x - 2.0, right: x + 2.0, top: y - 25.0, bottom: y + 25.0 })
                .collect();
            let areas: Vec<Area> = placed(&points, &bars, area).into_iter().flatten().collect();
            assert_eq!(areas.len(), names.len());
            for (i, own) in areas.iter().enumerate() {
                assert!(own.is_within(&area));
                assert!(!is_sparse || bars.iter().all(|bar| !own.overlaps(bar)), "{}", names[i]);
                assert!(areas[..i].iter().all(|other| !own.overlaps(other)), "{}", names[i]);
                assert!(points.iter().all(|(point, _)| !own.overlaps(&Area::around(*point, MARK))), "{}", names[i]);
            }
        }
    }
}
