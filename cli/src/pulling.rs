//! Getting images from registries, when asked to and when one is missing.

use isola_images::registry::{Platform, Platforms, Pulled};
use isola_images::{DEMO, Error, Pinned, Reference, Store};

use crate::context::Context;
use crate::demo_image;
use crate::error::{Code, Failure, Result};
use crate::transfers::Transfers;

/// How `run` and `create` want their image.
pub(crate) struct Wanted<'a> {
    /// always, missing or never.
    pub(crate) when: &'a str,
    /// As given.
    pub(crate) platform: Option<&'a str>,
    pub(crate) quiet: bool,
}

/// Pulls an image and shows how far it is.
pub(crate) fn pull(
    context: &Context,
    store: &Store,
    reference: &Reference,
    platforms: Platforms<'_>,
    quiet: bool,
) -> Result<Pulled> {
    let client = context.registries()?;
    let transfers = Transfers::of_pull(quiet);
    let pulled = store.pull(&client, reference, platforms, &|event| {
        transfers.tell(event)
    });
    drop(transfers);
    Ok(pulled?)
}

/// Finds the image of a new instance, and gets it first where that is wanted and
/// `check` has nothing to say against it.
pub(crate) fn find(
    context: &Context,
    name: &str,
    wanted: &Wanted<'_>,
    check: &dyn Fn() -> Result<()>,
) -> Result<Pinned> {
    let store = context.store()?;
    let platform = wanted.platform.map(str::parse::<Platform>).transpose()?;
    let demo = name
        .parse()
        .is_ok_and(|name: Reference| name.familiar_name() == DEMO && name.tag() == Some("latest"));
    if wanted.when == "never" || demo {
        return demo_image::resolve(&store, name);
    }
    let mut why = "is not here";
    if wanted.when == "missing" {
        match store.resolve(name) {
            // The other platform's image may bear this name here.
            Ok(image) if platform.is_some() && !image.is_native() => {}
            Err(Error::NotFound(_)) => {}
            // As a check that removed what was damaged leaves it.
            Err(Error::BlobMissing(_)) => why = "is not whole here",
            found => return Ok(found?),
        }
    }
    let native = Platform::native();
    if let Some(platform) = platform.filter(|platform| !native.serves(platform)) {
        let message = format!("--platform {platform}: this host runs {native} only");
        return Err(Failure::new(Code::Unsupported, message).hint(
            "`isola pull --platform` gets images of other platforms, to be pushed or saved",
        ));
    }
    // An id that is not here can't be asked for anywhere.
    let reference: Reference = match name.parse() {
        Ok(reference) => reference,
        Err(_) => return Ok(store.resolve(name)?),
    };
    check()?;
    let pulled = pull(context, &store, &reference, Platforms::Native, wanted.quiet);
    pulled.map_err(|mut failure| {
        if wanted.when == "missing" {
            failure.message = format!("the image {name} {why}, and {}", failure.message);
        }
        failure
    })?;
    Ok(store.resolve(name)?)
}
