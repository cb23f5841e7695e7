//! Vectors as the little-endian bytes of files and digests.

use bytemuck::{AnyBitPattern, NoUninit, cast_slice, pod_collect_to_vec};

// Then both are copies of memory, whatever the optimization level.
const _: () = assert!(cfg!(target_endian = "little"), "sharpbench runs on little-endian machines");

/// The bytes of `values`.
pub(crate) fn bytes<T: NoUninit>(values: &[T]) -> &[u8] {
    cast_slice(values)
}

/// The values whose bytes these are, aligned or not.
pub(crate) fn values<T: NoUninit + AnyBitPattern>(bytes: &[u8]) -> Vec<T> {
    pod_collect_to_vec(bytes)
}
