//! Shrinks images in worker processes. A decoder that crashes on a bad file costs that file alone.

use std::path::{Path, PathBuf};

use watertight::{Pool, RemoteError};

fn thumbnail(from: PathBuf) -> Result<(u32, u32), RemoteError> {
    let small = image::open(&from)?.thumbnail(64, 64);
    small.save(from.with_extension("thumb.png"))?;
    Ok((small.width(), small.height()))
}

fn main() -> watertight::Result<()> {
    watertight::init();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let pictures: Vec<PathBuf> = (1..=6).map(|number| draw(folder.path(), number)).collect();
    std::fs::write(&pictures[2], "no picture at all").expect("the folder is ours");

    let pool = Pool::new(2)?;
    for (picture, size) in pictures.iter().zip(pool.map(thumbnail, pictures.clone())?) {
        let name = picture.file_name().unwrap_or_default().display();
        match size {
            Ok((width, height)) => println!("{name}: {width} x {height}"),
            Err(error) => println!("{name}: {error}"),
        }
    }
    Ok(())
}

fn draw(folder: &Path, number: u32) -> PathBuf {
    let path = folder.join(format!("{number}.png"));
    let image = image::RgbImage::from_fn(100 * number, 300, |x, y| image::Rgb([x as u8, y as u8, 128]));
    image.save(&path).expect("the folder is ours");
    path
}
