//! Writes a postcode directory of a country that never was, as wide and as long as the one that is published, with hubs.toml beside it:
//! for measuring how long it takes to load.
//!
//!     cargo run --release --example invented-postcodes -- 2600000 DIR
//!     /usr/bin/time -v chis-broker directories check --dir DIR

#![allow(missing_docs, reason = "a tool for measuring")]

use std::fs::File;
use std::io::{BufWriter, Error, Result, Write};
use std::path::Path;

/// The columns of the directory, in its order.
const HEADER: &str = "pcd,pcd2,pcds,dointr,doterm,oscty,ced,oslaua,osward,parish,usertype,oseast1m,osnrth1m,osgrdind,oshlthau,nhser,ctry,rgn,\
    streg,pcon,eer,teclec,ttwa,pct,nuts,statsward,oa01,casward,park,lsoa01,msoa01,ur01ind,oac01,oa11,lsoa11,msoa11,wz11,ccg,bua22,ru11ind,\
    oac11,lat,long,lep1,lep2,pfa,imd,calncv,icb,oa21,lsoa21,msoa21,ru21ind";
const LETTERS: &[u8] = b"ABDEFGHJLNPQRSTUWXYZ";
/// Postcodes of one outcode.
const INCODES: usize = 10 * LETTERS.len() * LETTERS.len();

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [count, folder] = arguments.as_slice() else { return Err(Error::other("say how many postcodes, and a folder")) };
    let count: usize = count.parse().map_err(|_| Error::other("say how many postcodes"))?;
    std::fs::create_dir_all(folder)?;
    let hubs = "default_hub = \"NE\"\n[directories]\npostcodes = \"postcodes.csv\"\n[[hub]]\nname = \"NE\"\ntitle = \"Invented\"\nlas = [\"E09000001\", \"E09000002\"]\n";
    std::fs::write(Path::new(folder).join("hubs.toml"), hubs)?;
    let mut file = BufWriter::with_capacity(1 << 20, File::create(Path::new(folder).join("postcodes.csv"))?);
    writeln!(file, "{HEADER}")?;
    let letter = |number: usize| char::from(LETTERS.get(number % LETTERS.len()).copied().unwrap_or(b'A'));
    for number in 0..count {
        let (outcode, incode) = (number / INCODES, number % INCODES);
        let (a, b) = (letter(outcode / 99 / LETTERS.len()), letter(outcode / 99));
        let first = format!("{a}{b}{}", outcode % 99 + 1);
        let second = format!("{}{}{}", incode % 10, letter(incode / 10), letter(incode / 10 / LETTERS.len()));
        let ended = if number % 3 == 0 { "201506" } else { "" };
        // An outcode lies in one authority, but for its last postcodes.
        let authority = outcode % 370 + incode / 3_900 + 1;
        writeln!(
            file,
            "\"{first:<4}{second}\",\"{first:<4} {second}\",\"{first} {second}\",\"198001\",\"{ended}\",\"E99999999\",\"E99999999\",\"E09{authority:06}\",\
             \"E05009288\",\"E43000198\",\"0\",\"0532000\",\"0181000\",\"1\",\"E18000007\",\"E40000003\",\"E92000001\",\"E12000007\",\"0\",\"E14001172\",\
             \"E15000007\",\"E24000014\",\"E30000234\",\"E16000016\",\"TLI311\",\"99ZZ00\",\"E00000001\",\"99ZZ00\",\"E65000001\",\"E01000001\",\
             \"E02000001\",\"1\",\"2A1\",\"E00000001\",\"E01000001\",\"E02000001\",\"E33031119\",\"E38000255\",\"E63004888\",\"A1\",\"1C1\",51.517,-0.097,\
             \"E37000051\",\"\",\"E23000034\",29476,\"E56000027\",\"E54000029\",\"E00000001\",\"E01000001\",\"E02000001\",\"UN1\""
        )?;
    }
    file.flush()
}
