//! Labels as Compose writes them: they say what belongs to which project, and
//! what it was made from.

/// The project's name.
pub const PROJECT: &str = "com.docker.compose.project";
/// The service's name.
pub const SERVICE: &str = "com.docker.compose.service";
/// Hash of the service's, network's or volume's configuration.
pub const HASH: &str = "com.docker.compose.config-hash";
/// Number of an instance within its service, from 1.
pub const NUMBER: &str = "com.docker.compose.container-number";
/// `True` for what `compose run` makes.
pub const ONE_OFF: &str = "com.docker.compose.oneoff";
/// `SERVICE:CONDITION:RESTART`, with commas.
pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// Digest of the image's configuration.
pub const IMAGE: &str = "com.docker.compose.image";
/// The project's folder.
pub const FOLDER: &str = "com.docker.compose.project.working_dir";
/// The project's files, with commas.
pub const FILES: &str = "com.docker.compose.project.config_files";
/// What made it.
pub const VERSION: &str = "com.docker.compose.version";
/// A network's key in the file.
pub const NETWORK: &str = "com.docker.compose.network";
/// A volume's key in the file.
pub const VOLUME: &str = "com.docker.compose.volume";
/// Hash of what the service's secrets and configs hold; Compose has none of it.
pub const CONTENTS: &str = "io.isola.compose.contents-hash";
