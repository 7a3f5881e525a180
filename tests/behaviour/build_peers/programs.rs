//! Programs of a distribution, from the Python world, and one that is compiled.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use isola_tests::Env;

use super::cases::{Case, NONE};

/// Each builds on what comes before it.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "server",
        dockerfile: "FROM scratch\nADD rootfs.tar /\nENV LANG=C.UTF-8\n\
            RUN ln -sf /dev/stdout /var/log/nginx/access.log && ln -sf /dev/stderr /var/log/nginx/error.log \\\n\
            \x20 && rm -rf /var/lib/apt/lists/* /var/log/dpkg.log && useradd --system --home-dir /srv extra\n\
            COPY --chown=www-data index.html /var/www/html/\nEXPOSE 80\nSTOPSIGNAL SIGQUIT\n\
            CMD [\"nginx\", \"-g\", \"daemon off;\"]\n",
        files: &[("index.html", "<title>built</title>\n")],
        prepare: |folder| root(&folder.join("rootfs.tar")),
        runs: true,
        explained: &[],
        ..NONE
    },
    Case {
        name: "python",
        dockerfile: "FROM server AS wheel\nCOPY greeting /src/\nWORKDIR /src\n\
            RUN python3 -m zipfile -c /greeting-1.0-py3-none-any.whl greeting greeting-1.0.dist-info\n\
            FROM server AS installed\nCOPY --from=wheel /*.whl /wheels/\n\
            RUN python3 $(echo /usr/share/python-wheels/pip-*.whl)/pip install --quiet --root-user-action=ignore \\\n\
            \x20 --no-cache-dir --no-index --no-compile --find-links /wheels --target /app greeting\n\
            FROM server\nCOPY --from=installed /app /app\nCOPY main.py /app/\nENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1\n\
            USER www-data\nWORKDIR /app\nENTRYPOINT [\"python3\", \"main.py\"]\n",
        files: &[
            (
                "greeting/greeting/__init__.py",
                "def greet(who):\n    return f\"hello {who}\"\n",
            ),
            (
                "greeting/greeting-1.0.dist-info/METADATA",
                "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
            ),
            (
                "greeting/greeting-1.0.dist-info/WHEEL",
                "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            ),
            (
                "greeting/greeting-1.0.dist-info/RECORD",
                "greeting/__init__.py,,\ngreeting-1.0.dist-info/METADATA,,\n\
                 greeting-1.0.dist-info/WHEEL,,\ngreeting-1.0.dist-info/RECORD,,\n",
            ),
            (
                "main.py",
                "from greeting import greet\nprint(greet(\"image\"))\n",
            ),
        ],
        runs: true,
        ..NONE
    },
    Case {
        name: "compiled",
        dockerfile: "FROM server AS compiler\nWORKDIR /src\nCOPY main.rs .\n\
            RUN --mount=type=bind,from=toolchain,target=/toolchain \\\n\
            \x20 /toolchain/bin/rustc --edition 2021 -C opt-level=s -C panic=abort -C linker-flavor=ld.lld \\\n\
            \x20 -C linker=/toolchain/lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-lld \\\n\
            \x20 -C relocation-model=static -C link-arg=-e_start -o /program main.rs\n\
            FROM scratch\nCOPY --from=compiler --chmod=555 /program /bin/program\nENTRYPOINT [\"/bin/program\"]\n",
        files: &[("main.rs", PROGRAM)],
        ..NONE
    },
];

/// A program that needs no library, so that the toolchain alone compiles it.
const PROGRAM: &str = r#"#![no_std]
#![no_main]

use core::arch::asm;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

fn call(number: usize, a: usize, b: usize, c: usize) -> usize {
    let result;
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            out("rcx") _, out("r11") _);
    }
    result
}

#[no_mangle]
pub extern "C" fn _start() -> ! {
    let text = b"compiled in a stage\n";
    call(1, 1, text.as_ptr() as usize, text.len());
    call(231, 0, 0, 0);
    loop {}
}
"#;

/// The root file system that `cargo xtask test` has made.
fn distribution() -> PathBuf {
    let store = std::env::var_os("ISOLA_TEST_DEBIAN")
        .expect("ISOLA_TEST_DEBIAN is not set: `cargo xtask test` makes that folder");
    let folder = Path::new(&store).parent().unwrap();
    let files = std::fs::read_dir(folder).unwrap();
    let mut paths = files.map(|file| file.unwrap().path());
    let archive = paths.find(|path| path.extension().is_some_and(|end| end == "tar"));
    archive.expect("the archive that the image debian is made of")
}

/// Large parts of it that no case has a use for: two builders would copy them often.
const LEFT_OUT: [&str; 8] = [
    "postgresql",
    "redis",
    "libLLVM",
    "libz3",
    "libicu",
    "/perl/",
    "usr/share/i18n",
    "gconv",
];

/// Writes the archive that the first case adds.
fn root(to: &Path) {
    let mut archive = tar::Archive::new(File::open(distribution()).unwrap());
    let mut out = tar::Builder::new(BufWriter::new(File::create(to).unwrap()));
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let link = entry.link_name().unwrap().map(|link| link.into_owned());
        let name = [Some(&path), link.as_ref()].map(|path| path.map(|p| p.display().to_string()));
        let out_of_use = |name: &String| LEFT_OUT.iter().any(|part| name.contains(part));
        if name.iter().flatten().any(out_of_use) {
            continue;
        }
        let mut header = entry.header().clone();
        match link {
            Some(link) => out.append_link(&mut header, path, link).unwrap(),
            None => out.append_data(&mut header, path, entry).unwrap(),
        }
    }
    out.into_inner().unwrap().flush().unwrap();
}

/// The folder of the Rust toolchain that has compiled this test.
pub(super) fn toolchain() -> String {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output();
    let output = output.expect("rustc is needed for this test").stdout;
    String::from_utf8(output).unwrap().trim().to_owned()
}

/// What was built works.
pub(super) fn try_out(env: &Env) {
    let run = |image: &str| {
        env.isola(["run", "--rm", "--network=none", image])
            .ok()
            .stdout
    };
    assert_eq!(run("python"), "hello image\n");
    assert_eq!(run("compiled"), "compiled in a stage\n");
    env.isola(["run", "-d", "--name", "aa", "--network=none", "server"])
        .ok();
    let script =
        "for i in $(seq 100); do curl -sS http://127.0.0.1/ && exit; sleep 0.2; done; exit 1";
    let page = env.isola(["exec", "aa", "sh", "-c", script]).ok().stdout;
    assert_eq!(page, "<title>built</title>\n");
    env.isola(["rm", "-f", "aa"]).ok();
}
