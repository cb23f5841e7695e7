//! Conversion of vectors to and from the little-endian bytes of files and digests.

use bytemuck::{AnyBitPattern, NoUninit, cast_slice, pod_collect_to_vec};

// On little-endian machines both conversions are plain memory copies at any optimization level.
const _: () = assert!(cfg!(target_endian = "little"), "sharpbench runs on little-endian machines");

/// Bytes of `values`.
pub(crate) fn bytes<T: NoUninit>(values: &[T]) -> &[u8] {
    cast_slice(values)
}

/// Values from their bytes, which need not be aligned.
pub(crate) fn values<T: NoUninit + AnyBitPattern>(bytes: &[u8]) -> Vec<T> {
    pod_collect_to_vec(bytes)
}
