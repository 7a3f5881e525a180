//! Kernels of the user's own.

use isola_kernel::Kernels;

use super::{Run, Target};

pub(crate) fn target() -> Target {
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[0x10] = 2;
    elf[0x12] = 62;
    elf.extend_from_slice(b"Linux version 6.1.0 (a@b)\0");
    let mut image = vec![0; 1040];
    image[0x1f1] = 1;
    image[0x1fe..0x200].copy_from_slice(b"\x55\xaa");
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e] = 0x10;
    image[0x210..0x217].copy_from_slice(b"6.1.0 x");
    Target {
        name: "kernel",
        seeds: vec![elf, image],
        make,
        fix: super::nothing,
    }
}

fn make() -> Run {
    let folder = super::images::scratch();
    Box::new(move |input| {
        let path = folder.path().join("image");
        if let Err(error) = std::fs::write(&path, input) {
            return error.to_string();
        }
        let kernels = Kernels::open(folder.path().join("kernels"));
        match kernels.use_path(&path) {
            Ok(kernel) => {
                let told = format!("{:?}", kernel.format);
                if let Err(error) = kernels.remove(&kernel.name) {
                    panic!("an added kernel can't be removed: {error}");
                }
                told
            }
            Err(error) => error.to_string(),
        }
    })
}
