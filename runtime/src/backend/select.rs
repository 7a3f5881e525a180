//! Which of the walls that the user allows is put up.

use super::{Backend, Unusable, of};
use crate::error::{Error, Kind, Result};
use crate::state::Paths;
use crate::workload::Isolation;

/// The wall that was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// It.
    pub isolation: Isolation,
    /// Why not the one before it in the list, in one line; nothing when the first
    /// was taken.
    pub reason: Option<String>,
}

/// Takes the first wall of `allowed` that can be put up on this host.
///
/// # Errors
/// None of them can, and why.
pub fn select(allowed: &[Isolation], paths: &Paths) -> Result<Choice> {
    let probe = |isolation| {
        let backend: &dyn Backend = of(isolation).map_err(|error| Unusable {
            reason: error.message,
            hint: error.hint,
        })?;
        backend.probe(paths)
    };
    choose(allowed, probe)
}

fn choose(
    allowed: &[Isolation],
    mut probe: impl FnMut(Isolation) -> std::result::Result<(), Unusable>,
) -> Result<Choice> {
    let mut refused: Vec<(Isolation, Unusable)> = Vec::new();
    for isolation in allowed.iter().copied() {
        match probe(isolation) {
            Ok(()) => {
                let why = |(isolation, why): &(Isolation, Unusable)| {
                    format!("{} is not usable here: {why}", isolation.name())
                };
                let reason = (!refused.is_empty()).then(|| {
                    let whys: Vec<_> = refused.iter().map(why).collect();
                    format!("using {}: {}", isolation.name(), whys.join("; "))
                });
                return Ok(Choice { isolation, reason });
            }
            Err(unusable) => refused.push((isolation, unusable)),
        }
    }
    Err(none_works(allowed, &refused))
}

fn none_works(allowed: &[Isolation], refused: &[(Isolation, Unusable)]) -> Error {
    let Some((_, first)) = refused.first() else {
        return Error::new(Kind::Invalid, "no isolation is allowed: the list is empty");
    };
    let message = match refused {
        [(isolation, why)] => format!(
            "isolation '{}' is not usable on this host: {why}",
            isolation.name()
        ),
        many => {
            let whys: Vec<_> = many
                .iter()
                .map(|(isolation, why)| format!("{}: {why}", isolation.name()))
                .collect();
            format!(
                "none of the isolations allowed is usable on this host: {}",
                whys.join("; ")
            )
        }
    };
    let error = Error::new(Kind::Unsupported, message);
    // A software CPU needs no more than QEMU; that it is slower is the user's choice.
    if allowed == [Isolation::Vm] {
        return error.hint(
            "--isolation vm,emulated falls back to a software CPU; `isola doctor` tells more",
        );
    }
    match &first.hint {
        Some(hint) => error.hint(hint.clone()),
        None => error.hint("`isola doctor` tells what each isolation needs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Isolation::{Container, Emulated, Vm};

    fn run(allowed: &[Isolation], usable: &[Isolation]) -> Result<Choice> {
        choose(allowed, |isolation| match usable.contains(&isolation) {
            true => Ok(()),
            false => Err(Unusable::new("KVM can't run a guest")),
        })
    }

    #[test]
    fn the_first_that_works() {
        let every = [Container, Vm, Emulated];
        for (allowed, usable, expected) in [
            (&[Container][..], &every[..], Container),
            (&[Vm, Emulated], &every, Vm),
            (&[Vm, Emulated], &[Emulated], Emulated),
            (&[Emulated, Vm], &[Vm], Vm),
        ] {
            assert_eq!(
                run(allowed, usable).unwrap().isolation,
                expected,
                "{allowed:?} {usable:?}"
            );
        }
    }

    #[test]
    fn a_fallback_is_told_in_one_line() {
        assert_eq!(run(&[Vm, Emulated], &[Vm]).unwrap().reason, None);
        let reason = run(&[Vm, Emulated], &[Emulated]).unwrap().reason.unwrap();
        assert_eq!(
            reason,
            "using emulated: vm is not usable here: KVM can't run a guest"
        );
    }

    #[test]
    fn a_vm_never_becomes_anything_else_unasked() {
        let error = run(&[Vm], &[Container, Emulated]).unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported);
        assert!(error.message.contains("KVM can't run a guest"));
        assert!(error.hint.unwrap().contains("vm,emulated"));
        let error = run(&[Vm, Emulated], &[Container]).unwrap_err();
        assert!(error.message.contains("vm:") && error.message.contains("emulated:"));
        assert_eq!(run(&[], &[Container]).unwrap_err().kind, Kind::Invalid);
    }
}
