//! ImageNet-1K (Russakovsky et al. 2015), from a directory with a folder per class under `train`
//! and `val`. Its licence requires an account for downloads.

use super::{DataSetEntry, Input, image_folder};

pub(super) const ENTRY: DataSetEntry = DataSetEntry {
    name: "imagenet",
    about: "ImageNet-1K: 1,281,167 training and 50,000 validation photographs at 224x224, from a directory",
    input: Input::Image([3, 224, 224]),
    classes: 1000,
    origin: "directory: train/n01440764/*.JPEG ..., val/n01440764/*.JPEG ...",
    available: Some([1_281_167, 50_000]),
    photographs: true,
    stand_in: "synthetic",
    load: image_folder::load,
    originals: None,
    recognises: |directory| directory.join("train/n01440764").is_dir(),
};
