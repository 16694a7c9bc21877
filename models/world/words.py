"""Vocabulary of the synthetic world: invented genres, subjects and names, and their relations."""

from dataclasses import dataclass
from typing import Final

MARK: Final = "Synthetic."
"""Ends every description, so that no invented item is mistaken for a real one."""


@dataclass(frozen=True, slots=True)
class Taste:
    """A taste that a listener may have: a music genre with related podcasts, books and live streams.

    Attributes:
        music: Name of the genre.
        sounds: Words for its music.
        topic: Topic of its podcasts.
        subjects: Subjects of their episodes.
        book: Genre of its audiobooks.
        live: Description of its live streams.
    """

    music: str
    sounds: tuple[str, ...]
    topic: str
    subjects: tuple[str, ...]
    book: str
    live: str


TASTES: Final = (
    Taste(
        "tidal ambient", ("slow synths", "tape hiss", "sea recordings", "soft drones"), "the deep sea",
        ("hydrothermal vents", "anglerfish", "sunken harbours", "tides", "coral nurseries", "submarine cables"),
        "maritime mystery", "an underwater microphone off the coast",
    ),
    Taste(
        "chamber folk", ("fiddle", "nylon guitar", "close harmony", "field organ"), "village history",
        ("lost mills", "parish letters", "drovers' roads", "old orchards", "bell towers", "harvest songs"),
        "historical saga", "a folk session from a barn",
    ),
    Taste(
        "brass house", ("trombone riffs", "four-on-the-floor", "hand claps", "warm bass"), "street food",
        ("night markets", "flatbreads", "pickles", "noodle carts", "charcoal", "spice routes"),
        "kitchen comedy", "a rooftop dance set",
    ),
    Taste(
        "glasshouse pop", ("bright hooks", "vocal stacks", "drum machine", "glass chimes"), "celebrity gardens",
        ("topiary feuds", "prize roses", "greenhouse parties", "famous lawns", "seed auctions", "bonsai thieves"),
        "romantic comedy", "a chart countdown",
    ),
    Taste(
        "iron metal", ("down-tuned guitars", "double kick", "growls", "feedback"), "medieval engineering",
        ("siege towers", "blast furnaces", "chain mail", "cathedral vaults", "waterwheels", "crossbows"),
        "dark fantasy", "a metal club night",
    ),
    Taste(
        "night jazz", ("brushed drums", "muted trumpet", "upright bass", "smoky piano"), "unsolved crimes",
        ("forged paintings", "vanished trains", "the poisoned toast", "false alibis", "cold cases", "a stolen cello"),
        "detective fiction", "a late jazz trio",
    ),
    Taste(
        "circuit techno", ("acid lines", "modular bleeps", "steady kick", "metallic hats"), "small computers",
        ("home servers", "homebrew chips", "retro consoles", "open maps", "mesh radios", "soldering"),
        "hard science fiction", "a modular synth jam",
    ),
    Taste(
        "sun reggae", ("offbeat organ", "dub echo", "deep bass", "horn section"), "slow travel",
        ("night ferries", "walking routes", "island post", "mountain huts", "border towns", "cargo bikes"),
        "travel writing", "a beach sound system",
    ),
    Taste(
        "sprint rap", ("fast verses", "chopped soul", "heavy drums", "crowd shouts"), "running and cycling",
        ("hill repeats", "long runs", "time trials", "trail shoes", "pacing", "recovery"),
        "sports memoir", "a football match",
    ),
    Taste(
        "string minimalism", ("pulsing strings", "marimba", "long crescendos", "piano patterns"), "mathematics",
        ("prime gaps", "knots", "tilings", "paradoxes", "game theory", "maps and colours"),
        "literary fiction", "a concert hall broadcast",
    ),
    Taste(
        "desert rock", ("fuzz guitar", "slide", "long jams", "dusty drums"), "astronomy",
        ("meteor showers", "dark skies", "moon landings", "radio telescopes", "comets", "exoplanets"),
        "space opera", "a rocket launch with commentary",
    ),
    Taste(
        "lullaby electronica", ("music box", "whispered vocals", "soft pulses", "rain"), "sleep and calm",
        ("breathing", "quiet rooms", "dream diaries", "evening walks", "tea", "winter naps"),
        "children's tales", "rain on a tin roof",
    ),
)  # fmt: skip

MOODS: Final = ("calm", "bright", "driving", "dark")
# Moods by hour, most fitting first: night, morning, day, evening.
MOODS_BY_PART: Final = ((0, 3), (1, 2), (2, 1), (3, 0))

MARKETS: Final = ("SE", "DE", "GB", "US", "BR")
LOCALES: Final = ("sv-SE", "de-DE", "en-GB", "en-US", "pt-BR")

ADJECTIVES: Final = (
    "Copper", "Hollow", "Paper", "Velvet", "Quiet", "Amber", "Northern", "Borrowed", "Crooked", "Silver", "Second",
    "Salted", "Distant", "Folded", "Golden", "Restless", "Frozen", "Wandering", "Electric", "Gentle", "Painted", "Lost",
    "Early", "Broken", "Hidden", "Slow", "Burning", "Pale", "Twelve", "Winter", "Last", "Open",
)  # fmt: skip
NOUNS: Final = (
    "Tide", "Lantern", "Harbour", "Engine", "Orchard", "Signal", "Meadow", "Compass", "Mirror", "Station", "Feather",
    "Ladder", "Comet", "Garden", "Thunder", "Letter", "Bridge", "Sparrow", "Window", "Furnace", "River", "Circuit",
    "Island", "Parade", "Needle", "Canyon", "Blanket", "Spiral", "Market", "Shadow", "Kettle", "Voltage",
)  # fmt: skip
FIRST_NAMES: Final = (
    "Ilva", "Tomor", "Saskin", "Perrin", "Maelle", "Odric", "Nuria", "Bastel", "Yorin", "Camly", "Drusa", "Feodor",
    "Hestan", "Jorunn", "Kalle", "Lumi",
)  # fmt: skip
LAST_NAMES: Final = (
    "Vanterpool", "Ostrander", "Quillmark", "Brasswell", "Tarnhelm", "Eskerby", "Moonford", "Dappler", "Holloway-Fenn",
    "Grindle", "Sorrento-Pike", "Whistlecroft", "Umberg", "Lockhollow", "Ferrant", "Zabel",
)  # fmt: skip
