//! Loop devices (loop(4), linux/loop.h): one per image, whoever uses it.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

const NO_INFO: LoopInfo = LoopInfo {
    device: 0,
    inode: 0,
    rdevice: 0,
    offset: 0,
    size_limit: 0,
    number: 0,
    encrypt_type: 0,
    encrypt_key_size: 0,
    flags: 0,
    file_name: [0; 64],
    crypt_name: [0; 64],
    encrypt_key: [0; 32],
    init: [0; 2],
};

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const LOOP_GET_STATUS64: libc::Ioctl = 0x4c05;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
/// The device lets go of its file when its last user closes it.
const AUTOCLEAR: u32 = 4;
/// Past the page cache: the data is cached once, by the file system in the image.
const DIRECT_IO: u32 = 16;
/// How often another may take the device that we were told is free.
const ATTEMPTS: usize = 64;

/// A loop device that has its image for as long as this, or a mount, holds it open.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) path: PathBuf,
    _device: File,
}

/// The device that has this image already, or a new one. The open `image` stays
/// open in a new device, and with it a flock(2) that it holds. The caller keeps
/// others from doing the same at once.
///
/// # Errors
/// No loop devices here, or not for us.
pub(crate) fn attach(image: &File) -> io::Result<Attached> {
    if let Some(found) = find(image)? {
        return Ok(found);
    }
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    let mut last = io::Error::from(io::ErrorKind::ResourceBusy);
    for _ in 0..ATTEMPTS {
        let path = PathBuf::from(format!("/dev/loop{}", free_number(&control)?));
        let attempt = open(&path).and_then(|device| {
            configure(&device, image)?;
            Ok(device)
        });
        match attempt {
            Ok(device) => {
                return Ok(Attached {
                    path,
                    _device: device,
                });
            }
            Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                // Taken by another, or its node is not made yet.
                Some(Errno::BUSY | Errno::NOENT | Errno::NXIO | Errno::NODEV) => {
                    last = error;
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
                _ => return Err(error),
            },
        }
    }
    Err(last)
}

/// The device that has this image. Devices with files of other names are not
/// touched: opening one would keep it.
fn find(image: &File) -> io::Result<Option<Attached>> {
    let wanted = image.metadata()?;
    let name = std::fs::read_link(format!("/proc/self/fd/{}", image.as_raw_fd()))?;
    for entry in std::fs::read_dir("/sys/block")? {
        let device = entry?.file_name();
        if !device.as_encoded_bytes().starts_with(b"loop") {
            continue;
        }
        let backing = Path::new("/sys/block")
            .join(&device)
            .join("loop/backing_file");
        let Ok(backing) = std::fs::read_to_string(backing) else {
            continue;
        };
        if Path::new(backing.trim_end()).file_name() != name.file_name() {
            continue;
        }
        let path = Path::new("/dev").join(&device);
        let Ok(opened) = open(&path) else { continue };
        // Looked at only now that it can't be let go any more.
        let Ok(info) = status(&opened) else { continue };
        if (info.device, info.inode) == (wanted.dev(), wanted.ino()) {
            return Ok(Some(Attached {
                path,
                _device: opened,
            }));
        }
    }
    Ok(None)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn free_number(control: &File) -> io::Result<u32> {
    // SAFETY: this request takes no argument.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

fn status(device: &File) -> io::Result<LoopInfo> {
    let mut info = NO_INFO;
    // SAFETY: the kernel writes a `struct loop_info64` to one that lives in this
    // frame and has the layout of its header; any bytes are a valid value of it.
    let result = unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            LOOP_GET_STATUS64,
            std::ptr::from_mut(&mut info),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info)
}

/// With direct I/O; a file system without it (tmpfs) is read and written through
/// the page cache.
fn configure(device: &File, image: &File) -> io::Result<()> {
    match configure_with(device, image, AUTOCLEAR | DIRECT_IO) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            configure_with(device, image, AUTOCLEAR)
        }
        other => other,
    }
}

fn configure_with(device: &File, image: &File, flags: u32) -> io::Result<()> {
    let config = LoopConfig {
        fd: image.as_raw_fd() as u32,
        block_size: 0,
        info: LoopInfo { flags, ..NO_INFO },
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads a `struct loop_config` that lives in this frame
    // and has the layout of its header; both descriptors are open.
    let result = unsafe {
        libc::ioctl(
            device.as_raw_fd(),
            LOOP_CONFIGURE,
            std::ptr::from_ref(&config),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structures_have_the_sizes_of_the_kernel_header() {
        assert_eq!(size_of::<LoopInfo>(), 232);
        assert_eq!(size_of::<LoopConfig>(), 304);
    }
}
