//! Small Windows programs, as far as their tables go: nothing could run them.

/// What a program is to say of itself.
#[derive(Clone, Debug)]
pub struct WindowsProgram {
    /// `0x8664` for amd64.
    pub machine: u16,
    /// 3 is a console.
    pub subsystem: u16,
    /// Whether it is a library.
    pub library: bool,
    /// Libraries it needs.
    pub imports: Vec<String>,
    /// Libraries it needs later.
    pub delayed: Vec<String>,
    /// Flags of the .NET header.
    pub managed: Option<u32>,
    /// Whether there are bytes where a signature would be.
    pub signed: bool,
}

impl WindowsProgram {
    /// For amd64 and a console.
    pub fn new(imports: &[&str]) -> Self {
        Self {
            machine: 0x8664,
            subsystem: 3,
            library: false,
            imports: imports.iter().map(|&name| name.to_owned()).collect(),
            delayed: Vec::new(),
            managed: None,
            signed: false,
        }
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        const PLACE: u32 = 0x1000;
        const START: usize = 0x400;
        let mut tables = [(0_u32, 0_u32); 16];
        let mut data: Vec<u8> = Vec::new();
        let at = |data: &Vec<u8>| PLACE + u32::try_from(data.len()).expect("it is small");
        for (table, size, names) in [(1, 20, &self.imports), (13, 32, &self.delayed)] {
            if names.is_empty() {
                continue;
            }
            let places: Vec<u32> = names
                .iter()
                .map(|name| {
                    let place = at(&data);
                    data.extend_from_slice(name.as_bytes());
                    data.push(0);
                    place
                })
                .collect();
            tables[table] =
                (at(&data), u32::try_from(size * (names.len() + 1)).expect("it is small"));
            for place in places {
                let mut entry = vec![0; size];
                let (name, first) = if table == 1 { (12, 0) } else { (4, 1) };
                entry[0] = first;
                entry[name..name + 4].copy_from_slice(&place.to_le_bytes());
                data.extend_from_slice(&entry);
            }
            data.resize(data.len() + size, 0);
        }
        if let Some(flags) = self.managed {
            tables[14] = (at(&data), 72);
            let mut header = vec![0; 72];
            header[0] = 72;
            header[16..20].copy_from_slice(&flags.to_le_bytes());
            data.extend_from_slice(&header);
        }
        let size = data.len().next_multiple_of(512).max(512);
        data.resize(size, 0);
        if self.signed {
            tables[4] = (u32::try_from(START + size).expect("it is small"), 512);
            data.resize(size + 512, 1);
        }

        let mut file = vec![0; START];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, b"MZ");
        put(60, &0x80_u32.to_le_bytes());
        put(0x80, b"PE\0\0");
        put(0x84, &self.machine.to_le_bytes());
        put(0x86, &1_u16.to_le_bytes());
        put(0x94, &240_u16.to_le_bytes());
        put(0x96, &(if self.library { 0x2022_u16 } else { 0x22 }).to_le_bytes());
        put(0x98, &0x20b_u16.to_le_bytes());
        put(0x98 + 60, &0x400_u32.to_le_bytes());
        put(0x98 + 68, &self.subsystem.to_le_bytes());
        put(0x98 + 108, &16_u32.to_le_bytes());
        for (number, (place, size)) in tables.iter().enumerate() {
            put(0x98 + 112 + number * 8, &place.to_le_bytes());
            put(0x98 + 116 + number * 8, &size.to_le_bytes());
        }
        let size = u32::try_from(size).expect("it is small");
        put(0x188, b".rdata\0\0");
        put(0x190, &size.to_le_bytes());
        put(0x194, &PLACE.to_le_bytes());
        put(0x198, &size.to_le_bytes());
        put(0x19c, &u32::try_from(START).expect("it is small").to_le_bytes());
        file.append(&mut data);
        file
    }
}
