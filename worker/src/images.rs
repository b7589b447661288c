//! Tasks on pictures: code that reads files of strangers, which is what a process of its own is for.

use std::fmt;
use std::io::Cursor;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use watertight::RemoteError;

/// The width of a thumbnail, unless another one is asked for.
const WIDTH: NonZeroU32 = NonZeroU32::new(128).unwrap();

/// A picture to be made small. JSON may give its path alone, and leave out all but `from`.
///
/// serde writes and reads the struct itself (`remote` names that code without making it the trait's); the
/// traits below add the short form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
struct Picture {
    from: PathBuf,
    #[serde(default)]
    to: Option<PathBuf>,
    #[serde(default)]
    width: Option<NonZeroU32>,
}

impl From<PathBuf> for Picture {
    fn from(from: PathBuf) -> Picture {
        Picture { from, to: None, width: None }
    }
}

impl Serialize for Picture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Picture::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Picture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Picture, D::Error> {
        // The bytes between processes do not say what they are, so only a format for people has a choice.
        match deserializer.is_human_readable() {
            true => deserializer.deserialize_any(PathOrPicture),
            false => Picture::deserialize(deserializer),
        }
    }
}

struct PathOrPicture;

impl<'de> Visitor<'de> for PathOrPicture {
    type Value = Picture;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, or an object with `from`, and `to` and `width` if wanted")
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<Picture, E> {
        Ok(PathBuf::from(path).into())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Picture, A::Error> {
        Picture::deserialize(MapAccessDeserializer::new(map))
    }
}

/// A thumbnail that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Thumbnail {
    from: PathBuf,
    to: PathBuf,
    width: u32,
    height: u32,
}

/// Makes a small copy of a picture (PNG, JPEG, GIF or WebP), 128 pixels wide unless told otherwise, beside it
/// as `NAME.thumb.png` unless told otherwise.
///
/// The copy has the proportions of the picture, and is never wider than it.
#[watertight::task]
fn thumbnail(picture: Picture) -> Result<Thumbnail, RemoteError> {
    let Picture { from, to, width } = picture;
    let image = read(&from).map_err(|error| about("cannot read", &from, error))?;
    let small = shrink(&image, width.unwrap_or(WIDTH));
    let to = to.unwrap_or_else(|| from.with_extension("thumb.png"));
    write(&small, &to).map_err(|error| about("cannot write", &to, error))?;
    Ok(Thumbnail { from, to, width: small.width(), height: small.height() })
}

/// Reads a picture as its file says that it is to be seen, whatever the file's name says. One that would not
/// fit in `image`'s usual limit, 512 MiB, is an error.
fn read(path: &Path) -> image::ImageResult<DynamicImage> {
    let mut decoder = ImageReader::open(path)?.with_guessed_format()?.into_decoder()?;
    Limits::default().reserve(decoder.total_bytes())?;
    // Cameras do not turn the picture; they note down how they were held.
    let orientation = decoder.orientation()?;
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn shrink(image: &DynamicImage, width: NonZeroU32) -> DynamicImage {
    let width = width.get().min(image.width());
    let height = u64::from(image.height()) * u64::from(width);
    let height = (height + u64::from(image.width() / 2)) / u64::from(image.width());
    // Not above the picture's own height, which is a u32; a line of pixels stays one.
    image.thumbnail_exact(width, (height as u32).max(1))
}

/// Writes the file in one go, when there is something to write: a picture that cannot be encoded leaves none.
fn write(image: &DynamicImage, path: &Path) -> image::ImageResult<()> {
    let format = ImageFormat::from_path(path)?;
    let image = match format {
        // It knows no transparency.
        ImageFormat::Jpeg => DynamicImage::from(image.to_rgb8()),
        _ => DynamicImage::from(image.to_rgba8()),
    };
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format)?;
    Ok(std::fs::write(path, bytes.into_inner())?)
}

fn about(what: &str, path: &Path, error: image::ImageError) -> RemoteError {
    RemoteError::new(format_args!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use image::ImageEncoder;
    use image::codecs::jpeg::JpegEncoder;
    use watertight::Process;

    use super::*;

    fn draw(width: u32, height: u32) -> DynamicImage {
        let gradient = |x, y| image::Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 128]);
        DynamicImage::from(image::RgbImage::from_fn(width, height, gradient))
    }

    fn size(path: &Path) -> (u32, u32) {
        let image = read(path).unwrap();
        (image.width(), image.height())
    }

    #[test]
    fn a_path_alone_makes_a_png_of_128_pixels_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.png", "b.jpg", "c.gif", "d.webp"] {
            let from = folder.path().join(name);
            draw(400, 300).save(&from).unwrap();
            let small = thumbnail(from.clone().into()).unwrap();
            assert_eq!(small.to, folder.path().join(format!("{}.thumb.png", &name[..1])));
            assert_eq!((small.width, small.height, size(&small.to)), (128, 96, (128, 96)));
            assert_eq!(ImageReader::open(&small.to).unwrap().format(), Some(ImageFormat::Png));
        }
    }

    #[test]
    fn width_and_name_can_be_chosen_and_the_name_chooses_the_format() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("picture.png");
        DynamicImage::new_rgba16(300, 200).save(&from).unwrap();
        for name in ["x.png", "x.jpeg", "x.gif", "x.webp"] {
            let to = folder.path().join(name);
            let picture = Picture { from: from.clone(), to: Some(to.clone()), width: NonZeroU32::new(30) };
            assert_eq!(thumbnail(picture).unwrap().to, to);
            assert_eq!(size(&to), (30, 20), "{name}");
        }
    }

    #[test]
    fn proportions_stay_and_nothing_grows() {
        let shrunk = |width, height, to| {
            let small = shrink(&draw(width, height), NonZeroU32::new(to).unwrap());
            (small.width(), small.height())
        };
        assert_eq!(shrunk(1000, 333, 100), (100, 33));
        assert_eq!(shrunk(1000, 336, 100), (100, 34));
        assert_eq!(shrunk(10, 2000, 5), (5, 1000));
        assert_eq!(shrunk(2000, 1, 10), (10, 1));
        assert_eq!(shrunk(20, 10, 128), (20, 10));
    }

    #[test]
    fn a_picture_that_lies_on_its_side_is_turned() {
        /// Exif's way to say that the top of the picture is on its right: one entry, number 0x112, value 6.
        const TURNED: &[u8] = b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("photo.jpg");
        let mut encoder = JpegEncoder::new(File::create(&from).unwrap());
        encoder.set_exif_metadata(TURNED.to_vec()).unwrap();
        draw(400, 200).write_with_encoder(encoder).unwrap();
        let small = thumbnail(from.into()).unwrap();
        assert_eq!((small.width, small.height), (128, 256));
    }

    #[test]
    fn a_small_file_that_claims_a_huge_picture_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("bomb.gif");
        let mut gif = b"GIF89a\xff\xff\xff\xff\0\0\0".to_vec();
        gif.extend_from_slice(b"\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\0\x3b");
        std::fs::write(&from, gif).unwrap();
        let error = thumbnail(from.into()).unwrap_err().to_string();
        assert!(error.contains("limit"), "{error}");
    }

    #[test]
    fn what_is_no_picture_is_an_error_that_names_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picture.png");
        for (content, part) in
            [(&b"not a picture"[..], "picture.png: "), (b"\x89PNG\r\n\x1a\nbroken", "picture.png: ")]
        {
            std::fs::write(&path, content).unwrap();
            let error = thumbnail(path.clone().into()).unwrap_err().to_string();
            assert!(error.starts_with("cannot read ") && error.contains(part), "{error}");
        }
        assert!(thumbnail(folder.path().join("none.png").into()).is_err());
    }

    #[test]
    fn a_name_without_a_known_format_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a.png"), folder.path().join("a.unknown"));
        draw(8, 8).save(&from).unwrap();
        let error = thumbnail(Picture { from, to: Some(to.clone()), width: None }).unwrap_err().to_string();
        assert!(error.starts_with("cannot write ") && !to.exists(), "{error}");
    }

    #[test]
    fn json_gives_a_path_or_an_object() {
        let read = serde_json::from_str::<Picture>;
        let picture = Picture::from(PathBuf::from("a.png"));
        assert_eq!(read(r#""a.png""#).unwrap(), picture);
        assert_eq!(read(r#"{"from": "a.png"}"#).unwrap(), picture);
        let picture = Picture { to: Some("b.png".into()), width: NonZeroU32::new(7), ..picture };
        assert_eq!(read(r#"{"from": "a.png", "to": "b.png", "width": 7}"#).unwrap(), picture);
        assert_eq!(read(&serde_json::to_string(&picture).unwrap()).unwrap(), picture);
    }

    #[test]
    fn json_that_is_wrong_is_told_why() {
        let error = |json| serde_json::from_str::<Picture>(json).unwrap_err().to_string();
        assert!(error("7").contains("expected a path, or an object"), "{}", error("7"));
        assert!(
            error(r#"{"from": "a", "widht": 7}"#).contains("`widht`, expected one of `from`, `to`, `width`")
        );
        assert!(error(r#"{"from": "a", "width": 0}"#).contains("nonzero"));
        assert!(error(r#"{"to": "a"}"#).contains("missing field `from`"));
    }

    #[watertight::test]
    fn a_picture_travels_to_a_process_and_back() {
        let pictures = [
            PathBuf::from("a.png").into(),
            Picture { from: "a".into(), to: Some("b".into()), width: NonZeroU32::new(7) },
        ];
        for picture in pictures {
            let process = Process::spawn(|picture: Picture| picture, (picture.clone(),)).unwrap();
            assert_eq!(process.join(), Ok(picture));
        }
    }
}
