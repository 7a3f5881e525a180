//! Flags about health checks.

use clap::Args;
use isola_runtime::workload::Options;

#[derive(Debug, Args)]
#[command(next_help_heading = "Health")]
pub(super) struct HealthFlags {
    /// Line for the shell that tells by its exit code whether all is well
    #[arg(long, value_name = "COMMAND")]
    health_cmd: Option<String>,
    /// Time between two checks, such as 1m30s; 30s when nothing says otherwise
    #[arg(long, value_name = "DURATION")]
    health_interval: Option<String>,
    /// Time that a check may take
    #[arg(long, value_name = "DURATION")]
    health_timeout: Option<String>,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    health_retries: Option<i64>,
    /// Time at the start in which failures do not count
    #[arg(long, value_name = "DURATION")]
    health_start_period: Option<String>,
    /// Time between two checks in that time
    #[arg(long, value_name = "DURATION")]
    health_start_interval: Option<String>,
    /// Do not use the image's health check
    #[arg(long)]
    no_healthcheck: bool,
}

impl HealthFlags {
    /// Puts the flags into `options`.
    pub(super) fn fill(&self, options: &mut Options) {
        let line = self.health_cmd.as_ref().filter(|line| !line.is_empty());
        options.health_cmd = line.map(|line| vec!["CMD-SHELL".to_owned(), line.clone()]);
        options.health_interval.clone_from(&self.health_interval);
        options.health_timeout.clone_from(&self.health_timeout);
        options.health_retries = self.health_retries;
        options
            .health_start_period
            .clone_from(&self.health_start_period);
        options
            .health_start_interval
            .clone_from(&self.health_start_interval);
        options.no_healthcheck = self.no_healthcheck;
    }
}
