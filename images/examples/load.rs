//! Loads an archive into a store and prints where its layers are.
//! `cargo run --example load -- STORE ARCHIVE`

use isola_images::{LayerFormat, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(store), Some(archive)) = (args.next(), args.next()) else {
        return Err("usage: load STORE ARCHIVE".into());
    };
    let format = if std::env::var_os("FOLDERS").is_some() {
        LayerFormat::Directory
    } else {
        LayerFormat::Erofs
    };
    let store = Store::open(store.as_ref(), format)?;
    for loaded in store.load(std::fs::File::open(archive)?, &|_| ())? {
        println!("{} {:?}", loaded.id, loaded.references);
        for layer in &store.resolve(&loaded.id.to_string())?.layers {
            println!("{} {}", layer.size, layer.path().display());
        }
    }
    Ok(())
}
