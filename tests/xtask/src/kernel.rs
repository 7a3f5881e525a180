//! The guest kernels that tests and demo start.

use std::time::Instant;

use isola_kernel::{Kernel, Kernels, Progress, Step};

use crate::Result;

/// Builds the minimal kernel and fetches the distribution's; quick when both are
/// there already.
pub(crate) fn ensure() -> Result<Kernel> {
    let kernels = Kernels::open(Kernels::default_dir());
    let explain = |e: isola_kernel::Error| match e.hint() {
        Some(hint) => format!("{e} (hint: {hint})"),
        None => e.to_string(),
    };
    kernels.fetch(&mut Teller::new().sink()).map_err(explain)?;
    let kernel = kernels.build(&mut Teller::new().sink()).map_err(explain)?;
    eprintln!("kernel: {} in {}", kernel.name, kernels.dir().display());
    Ok(kernel)
}

/// Tells each step, and how far it is once in ten seconds.
struct Teller {
    step: Option<Step>,
    told: Instant,
}

impl Teller {
    fn new() -> Self {
        Teller {
            step: None,
            told: Instant::now(),
        }
    }

    fn sink(mut self) -> impl FnMut(&Progress) {
        move |progress| {
            let is_new = self.step.as_ref() != Some(&progress.step);
            if !is_new && self.told.elapsed().as_secs() < 10 {
                return;
            }
            self.step = Some(progress.step.clone());
            self.told = Instant::now();
            match progress.total {
                Some(total) if !is_new => {
                    let percent = progress.done * 100 / total.max(1);
                    eprintln!("kernel: {} {percent}%", progress.step);
                }
                _ => eprintln!("kernel: {}", progress.step),
            }
        }
    }
}
