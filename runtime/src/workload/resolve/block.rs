//! Limits on block devices of the host.

use std::path::{Path, PathBuf};

use super::limits::size;
use super::{Context, invalid};
use crate::error::{Error, Kind, Result};
use crate::workload::host::FileKind;
use crate::workload::resources::{BlockDevice, BlockIo};
use crate::workload::walls::Feature;

/// Docker's range of a weight.
const WEIGHTS: std::ops::RangeInclusive<i64> = 10..=1000;
/// Schedulers that share a device by weight (bfq-iosched.rst in the kernel's
/// Documentation; cfq was there before Linux 5.0).
const BY_WEIGHT: [&str; 2] = ["[bfq]", "[cfq]"];
/// The kernel's list of block devices, by number.
const PARTITIONS: &str = "/proc/partitions";

pub(super) fn block(cx: &Context<'_>) -> Result<BlockIo> {
    let mut block = BlockIo {
        weight: weight(cx)?,
        devices: Vec::new(),
    };
    let flag = "--blkio-weight-device";
    for text in &cx.options.blkio_weight_device {
        cx.wall
            .require(Feature::BlockWeight, &format!("{flag} {text}"))?;
        let (device, value) = device(cx, flag, text, &mut block)?;
        let Some(weight) = number_of_weight(flag, text, value)? else {
            continue;
        };
        if !shares_by_weight(cx, device.major, device.minor) {
            let path = device.path.clone();
            let name = path.trim_start_matches("/dev/");
            let message = format!("{flag} {text:?}: {path} does not share by weight");
            return Err(Error::new(Kind::Unsupported, message).hint(format!(
                "the scheduler bfq does: echo bfq > /sys/block/{name}/queue/scheduler"
            )));
        }
        device.weight = Some(weight);
    }
    rates(cx, &mut block)?;
    block.devices.retain(|device| {
        let BlockDevice {
            weight,
            read_bps,
            write_bps,
            read_iops,
            write_iops,
            ..
        } = device;
        let rates = [read_bps, write_bps, read_iops, write_iops];
        weight.is_some() || rates.iter().any(|rate| rate.is_some())
    });
    Ok(block)
}

/// A weight for all devices. It must have an effect on some device: the kernel takes it
/// in silence where no device shares by weight.
fn weight(cx: &Context<'_>) -> Result<Option<u16>> {
    let flag = "--blkio-weight";
    let Some(weight) = cx.options.blkio_weight.filter(|weight| *weight != 0) else {
        return Ok(None);
    };
    let text = weight.to_string();
    cx.wall
        .require(Feature::BlockWeight, &format!("{flag} {text}"))?;
    let weight = number_of_weight(flag, &text, &text)?;
    let list = cx.host.files.read(Path::new(PARTITIONS), 1 << 20);
    let list = String::from_utf8_lossy(&list.unwrap_or_default()).into_owned();
    let mut devices = list.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    });
    if !devices.any(|(major, minor)| shares_by_weight(cx, major, minor)) {
        let message = format!("{flag} {text}: no block device of this host shares by weight");
        return Err(Error::new(Kind::Unsupported, message)
            .hint("the scheduler bfq does: echo bfq > /sys/block/DEVICE/queue/scheduler"));
    }
    Ok(weight)
}

fn number_of_weight(flag: &str, text: &str, value: &str) -> Result<Option<u16>> {
    let wrong = || {
        let why = format!(
            "a weight is from {} to {}, and 0 is none",
            WEIGHTS.start(),
            WEIGHTS.end()
        );
        invalid(flag, text, why).hint("the more, the larger its part of the device, as in 300")
    };
    let number: i64 = value.parse().map_err(|_| wrong())?;
    match number {
        0 => Ok(None),
        number if WEIGHTS.contains(&number) => u16::try_from(number).map(Some).map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

/// Whether groups share the device by weight, through its scheduler or by `io.cost.qos`.
fn shares_by_weight(cx: &Context<'_>, major: u32, minor: u32) -> bool {
    let path = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/queue/scheduler"));
    let text = cx.host.files.read(&path, 4096).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.split_whitespace()
        .any(|word| BY_WEIGHT.contains(&word))
        || cx.host.cgroups.cost.contains(&(major, minor))
}

fn rates(cx: &Context<'_>, block: &mut BlockIo) -> Result<()> {
    type Field = fn(&mut BlockDevice) -> &mut Option<u64>;
    let options = cx.options;
    let bytes: [(&str, &[String], Field); 2] = [
        ("--device-read-bps", &options.device_read_bps, |it| {
            &mut it.read_bps
        }),
        ("--device-write-bps", &options.device_write_bps, |it| {
            &mut it.write_bps
        }),
    ];
    let requests: [(&str, &[String], Field); 2] = [
        ("--device-read-iops", &options.device_read_iops, |it| {
            &mut it.read_iops
        }),
        ("--device-write-iops", &options.device_write_iops, |it| {
            &mut it.write_iops
        }),
    ];
    let all = bytes.into_iter().map(|it| (it, true));
    for ((flag, texts, field), is_size) in all.chain(requests.into_iter().map(|it| (it, false))) {
        for text in texts {
            cx.wall
                .require(Feature::BlockRates, &format!("{flag} {text}"))?;
            let (device, value) = device(cx, flag, text, block)?;
            let rate = match is_size {
                true => size(flag, value)?,
                // The kernel keeps it in 32 bits, and cuts off what does not fit.
                false => value.parse::<u32>().map(u64::from).map_err(|_| {
                    let most = u32::MAX;
                    let why = format!("requests per second are from 1 to {most}");
                    invalid(flag, text, why).hint("write a plain number, as in /dev/vda:100")
                })?,
            };
            *field(device) = (rate != 0).then_some(rate);
        }
    }
    Ok(())
}

/// `PATH:VALUE`: the device, which is a whole one, and the value.
fn device<'a, 'b>(
    cx: &Context<'_>,
    flag: &str,
    text: &'b str,
    block: &'a mut BlockIo,
) -> Result<(&'a mut BlockDevice, &'b str)> {
    let Some((path, value)) = text
        .rsplit_once(':')
        .filter(|(path, _)| path.starts_with('/'))
    else {
        return Err(invalid(flag, text, "not of the form PATH:VALUE")
            .hint("name the node of a block device, as in /dev/vda:1m"));
    };
    let stat = cx.host.files.stat(Path::new(path));
    let stat = stat.map_err(|error| {
        invalid(flag, text, format!("{path}: {error}")).hint("`lsblk` lists block devices")
    })?;
    if stat.kind != FileKind::Block {
        return Err(invalid(flag, text, format!("{path} is no block device"))
            .hint("`lsblk` lists block devices"));
    }
    let numbers = format!("/sys/dev/block/{}:{}/partition", stat.major, stat.minor);
    if cx.host.files.stat(Path::new(&numbers)).is_ok() {
        let why = format!("{path} is a partition, and limits are for whole devices");
        return Err(invalid(flag, text, why).hint("name the device that it is a part of"));
    }
    let is_same = |it: &BlockDevice| (it.major, it.minor) == (stat.major, stat.minor);
    let index = match block.devices.iter().position(is_same) {
        Some(index) => index,
        None => {
            block.devices.push(BlockDevice {
                path: path.to_owned(),
                major: stat.major,
                minor: stat.minor,
                ..BlockDevice::default()
            });
            block.devices.len() - 1
        }
    };
    Ok((&mut block.devices[index], value))
}
