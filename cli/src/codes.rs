//! Classes of errors with the codes that `isola explain` explains. A code is
//! never given a new meaning.

/// A class of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The command line is not understood.
    Usage,
    /// A template of `--format` is wrong.
    Template,
    /// A key or value of `--filter` is wrong.
    Filter,
    /// A value that can't be.
    Invalid,
    /// No such instance.
    NoSuch,
    /// A name, lock or state is in the way.
    Conflict,
    /// The wall can't do it.
    Unsupported,
    /// Exit code 126.
    NotExecutable,
    /// Exit code 127.
    ProgramNotFound,
    /// No such image.
    NoImage,
    /// An image, archive or blob is not what it should be.
    BadImage,
    /// An image is in use.
    ImageInUse,
    /// A registry can't be reached, or does not do what it should.
    Registry,
    /// A registry wants to know who one is, or a login can't be kept.
    Denied,
    /// A Dockerfile can't be used.
    Dockerfile,
    /// A program of a build has failed.
    BuildStep,
    /// No guest kernel.
    NoKernel,
    /// A guest kernel can't be made or used.
    BadKernel,
    /// No such network.
    NoNetwork,
    /// A network, an address or a port is in use.
    NetworkInUse,
    /// No such volume.
    NoVolume,
    /// A volume is in use.
    VolumeInUse,
    /// A copy would leave its destination, or its ends do not fit.
    Copy,
    /// A compose file can't be used.
    ComposeFile,
    /// The system refused.
    System,
}

/// Number, title and explanation of a class.
pub(crate) struct Entry {
    pub(crate) code: Code,
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    pub(crate) text: &'static str,
}

impl Code {
    /// The stable code, as `E0101`.
    pub(crate) fn id(self) -> &'static str {
        let found = ENTRIES.iter().find(|entry| entry.code == self);
        found.map_or("E0000", |entry| entry.id)
    }
}

/// All classes.
pub(crate) const ENTRIES: &[Entry] = &[
    Entry {
        code: Code::Usage,
        id: "E0001",
        title: "the command line is not understood",
        text: "A verb, flag or argument is unknown, missing or in the wrong place.\n\
               `isola VERB --help` lists the flags of a verb with examples. Options of\n\
               `run` and `exec` stand before the image or instance; what follows it is\n\
               the command to run. `--` ends the options.",
    },
    Entry {
        code: Code::Template,
        id: "E0002",
        title: "a template of --format can't be used",
        text: "`--format` takes `table`, `json`, a template such as `{{.ID}} {{.Names}}`, or\n\
               `table {{.ID}}\\t{{.Names}}`. The message lists the fields that there are.\n\
               `--format '{{json .}}'` shows all of them with their values.",
    },
    Entry {
        code: Code::Filter,
        id: "E0003",
        title: "a --filter can't be used",
        text: "A filter is `key=value`. ps knows name, id, label, status, exited, ancestor,\n\
               isolation, before, since, network, volume, publish and expose; images knows\n\
               reference, label, dangling, before and since. Filters of one key are alternatives, different keys must all hold.",
    },
    Entry {
        code: Code::Invalid,
        id: "E0101",
        title: "a value can't be",
        text: "A size, number, name, user, path or file that was given is malformed, out of\n\
               range or not there. Sizes are bytes with an optional unit (`512m`, `2g`);\n\
               names have letters, digits, `_`, `.` and `-`. Nothing was changed.",
    },
    Entry {
        code: Code::NoSuch,
        id: "E0102",
        title: "there is no such instance",
        text: "No instance has this name or an id that starts like this, or several ids do.\n\
               `isola ps -a` lists all of them. An instance made with --rm is gone once it\n\
               has ended.",
    },
    Entry {
        code: Code::Conflict,
        id: "E0103",
        title: "a name or a state is in the way",
        text: "The name belongs to another instance, or the instance is not in a state in\n\
               which this can be done: exec, top, pause and attach need a running one, rm\n\
               one that is stopped (or --force).",
    },
    Entry {
        code: Code::Unsupported,
        id: "E0104",
        title: "the wall can't do this, or can't be put up here",
        text: "`isola capabilities` lists what each wall can do. `isola doctor` tells what\n\
               this host has for each of them. No wall is ever replaced by a weaker one on\n\
               its own; `--isolation vm,emulated` allows the first that works.",
    },
    Entry {
        code: Code::NotExecutable,
        id: "E0126",
        title: "the program can't be executed",
        text: "The program is in the image but has no execute permission, is a folder, is of\n\
               another architecture, or its interpreter is missing. The exit code is 126.",
    },
    Entry {
        code: Code::ProgramNotFound,
        id: "E0127",
        title: "the program is not in the image",
        text: "It was looked for as execvp(3) does, in the PATH of the workload's own\n\
               environment. The exit code is 127.",
    },
    Entry {
        code: Code::NoImage,
        id: "E0201",
        title: "there is no such image",
        text: "`isola images` lists the images that are here. `isola pull` gets one from a\n\
               registry, `isola load` and `isola import` bring one in from a file;\n\
               `isola/demo` is always there.",
    },
    Entry {
        code: Code::BadImage,
        id: "E0202",
        title: "an image or archive is not what it should be",
        text: "The archive is neither an OCI image layout nor a `docker save`, a blob does not\n\
               match its digest, or a path in a layer tries to leave its root. Nothing of it\n\
               was kept.",
    },
    Entry {
        code: Code::ImageInUse,
        id: "E0203",
        title: "the image is in use",
        text: "An instance was made from it, or it has several names. Remove the instance\n\
               first, or use --force, which takes away the name and leaves the layers that\n\
               instances need.",
    },
    Entry {
        code: Code::Registry,
        id: "E0204",
        title: "a registry can't be used",
        text: "The registry can't be reached, stops answering, shows a certificate that nobody\n\
               here trusts, or sends something else than it promised. What passes by itself\n\
               was tried again a few times. Certificates to trust go to\n\
               /etc/docker/certs.d/HOST:PORT/ca.crt; mirrors, time limits and leave to do\n\
               without TLS are set in the section `registry` of the settings file. Nothing\n\
               was changed but that layers which came whole may be kept for the next try.",
    },
    Entry {
        code: Code::Denied,
        id: "E0205",
        title: "a registry denied access",
        text: "The registry wants a login, refuses the one it got, or the login can't be read\n\
               or kept. `isola login HOST` tries and keeps one, in ~/.docker/config.json or\n\
               with the credential helper that is named there. Many registries also deny what\n\
               they do not have: check the image's name.",
    },
    Entry {
        code: Code::Dockerfile,
        id: "E0206",
        title: "the Dockerfile is wrong",
        text: "The message begins with the file, the line and the column of what is wrong, as\n\
               Dockerfile:3:5. Nothing was built.",
    },
    Entry {
        code: Code::BuildStep,
        id: "E0207",
        title: "a program of a build has failed",
        text: "A RUN ended with another exit code than 0. The last lines that it wrote stand\n\
               before the message, which names its place in the Dockerfile. What earlier steps\n\
               made is kept and not done again by the next build.",
    },
    Entry {
        code: Code::NoKernel,
        id: "E0301",
        title: "there is no guest kernel",
        text: "The walls `vm` and `emulated` start a guest kernel. `isola kernel fetch` gets\n\
               the distribution's in seconds, `isola kernel build` makes a minimal one in\n\
               minutes, `isola kernel use PATH` takes your own.",
    },
    Entry {
        code: Code::BadKernel,
        id: "E0302",
        title: "a guest kernel can't be made or used",
        text: "A tool or package needed to build or fetch it is missing, or a file is not an\n\
               x86-64 vmlinux or bzImage.",
    },
    Entry {
        code: Code::Copy,
        id: "E0401",
        title: "files can't be copied this way",
        text: "One end of `isola cp` is INSTANCE:PATH, the other a path of the host or `-`. As\n\
               with cp, a folder can't replace a file and a target with a trailing slash\n\
               must be a folder. A link in the copied tree is never followed out of the\n\
               destination.",
    },
    Entry {
        code: Code::NoNetwork,
        id: "E0501",
        title: "there is no such network",
        text: "`isola network ls` lists the networks, `isola network create NAME` makes one.\n\
               The network `default` is made when it is first used.",
    },
    Entry {
        code: Code::NetworkInUse,
        id: "E0502",
        title: "a network, an address or a port is in use",
        text: "The name of the network is taken, its subnet overlaps another network or a\n\
               route of this host, the address belongs to another instance, the port to\n\
               another program, or instances still refer to the network. The message names\n\
               what is in the way.",
    },
    Entry {
        code: Code::NoVolume,
        id: "E0601",
        title: "there is no such volume",
        text: "`isola volume ls` lists the volumes, `isola volume create NAME` makes one.\n\
               `run` and `create` make those that they name. Unnamed volumes go with\n\
               `rm -v` and `run --rm`.",
    },
    Entry {
        code: Code::VolumeInUse,
        id: "E0602",
        title: "a volume is in use, or is there with other options",
        text: "An instance, running or stopped, was made with it: remove that first. A volume\n\
               made with block=SIZE belongs to one running instance at a time.",
    },
    Entry {
        code: Code::ComposeFile,
        id: "E0701",
        title: "a compose file can't be used",
        text: "The message starts with the file, line and column. Keys that are not in the\n\
               compose specification are errors unless they start with `x-`; so is what a\n\
               service's wall can't do, and what would weaken security if it were ignored.\n\
               Nothing was started. `isola compose config` shows how a file is understood.",
    },
    Entry {
        code: Code::System,
        id: "E0901",
        title: "the system refused",
        text: "A system call failed: no permission, no space, no such device. The message\n\
               tells on what and why. `isola doctor` checks what Isola needs of this host.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_ordered() {
        assert!(ENTRIES.is_sorted_by(|a, b| a.id < b.id));
        assert_eq!(Code::ProgramNotFound.id(), "E0127");
    }
}
