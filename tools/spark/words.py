"""The vocabulary that the generators draw from, and words made up on the spot."""

from random import Random

from tools.spark.held_out import is_held_out_name
from tools.spark.turn import Split

NAMES = tuple(
    """Anna Tom Alice Bob Carol David Emma Frank Grace Henry Iris Jack Kate Leo Maria Nina Oscar
    Paul Rosa Sam Tina Victor Wendy Yara Zoe Adam Bella Chris Diana Eric Fiona George Hanna Ivan
    Julia Karl Laura Max Nora Olga Peter Quinn Ruth Simon Tara Uma Vera Will Xena Yusuf Amir Bruno
    Clara Dora Elias Felix Gina Hugo Ines Jonas Kira Lars Mia Noah Omar Pia Ravi Sara Theo Ursula
    John Jane Mary James Linda Robert Susan Michael Lisa Daniel Sofia Liam Olivia Ethan Lucas Ella
    Mateo Aisha Chen Yuki Hiro Priya Arjun Fatima Ahmed Ingrid Sven Pedro Lucia Marco Giulia Pierre
    Chloe Hans Greta Anton Katya Dmitri Elena Stefan Milan Jana Petra Marek Zara Kofi Ama Kwame
    """.split()
)
PLACES = tuple(
    """Paris London Berlin Rome Madrid Tokyo Oslo Vienna Prague Lisbon Dublin Athens Cairo Delhi
    Boston Chicago Seattle Denver Dallas Austin Miami Toronto Sydney Lima Bogota Seoul Beijing
    Shanghai Mumbai Nairobi Lagos Munich Hamburg Cologne Milan Venice Naples Lyon Nice Zurich
    Geneva Basel Bern Brussels Amsterdam Copenhagen Stockholm Helsinki Warsaw Krakow Budapest
    Istanbul Dubai Singapore Bangkok Jakarta Manila Hanoi Moscow Kyoto Osaka Havana Quito Santiago
    """.split()
)
PLACES += ("New York", "San Francisco", "Los Angeles", "Buenos Aires", "Mexico City", "Hong Kong")
WORDS = tuple(
    """apple river stone green window happy quiet bright garden silver paper music yellow ocean
    winter summer table candle forest orange bread cheese water coffee morning evening little
    strong gentle blue red black white mountain valley bird horse cat dog fish tree flower rain
    snow wind cloud star moon sun light dark fast slow old new big small round soft hard cold warm
    city house door road bridge train boat plane car book letter story song dance game school
    teacher doctor friend mother father brother sister child king queen island castle tower clock
    bell key box bottle glass spoon knife plate chair lamp mirror carpet pillow blanket coat hat
    shoe ring crown sword shield arrow bow test hello world this is a the and that one two three
    we you they like see want make good day night time banana lemon cherry pear plum tomato potato
    sugar salt pepper honey butter milk tea pilot flame burner server model token prompt quick
    brown fox jumps over lazy please nice great very much today tomorrow here there now then
    """.split()
)
COLOURS = (
    "red", "blue", "green", "yellow", "orange", "purple", "black", "white", "pink", "brown",
    "grey", "gold", "silver",
)  # fmt: skip
ANIMALS = (
    "cat", "dog", "horse", "rabbit", "fox", "owl", "bear", "mouse", "duck", "frog", "lion",
    "tiger", "wolf", "goat", "sheep", "hamster", "parrot", "turtle", "dragon", "robot",
)  # fmt: skip
FOODS = (
    "pizza", "bread", "rice", "soup", "pasta", "cheese", "apples", "cake", "salad", "fish",
    "chocolate", "pancakes", "noodles", "bananas", "honey",
)  # fmt: skip
CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid",
    "Portugal": "Lisbon", "England": "London", "the United Kingdom": "London",
    "Ireland": "Dublin", "Norway": "Oslo", "Sweden": "Stockholm", "Denmark": "Copenhagen",
    "Finland": "Helsinki", "Poland": "Warsaw", "Austria": "Vienna", "Switzerland": "Bern",
    "Belgium": "Brussels", "the Netherlands": "Amsterdam", "Greece": "Athens",
    "Turkey": "Ankara", "Russia": "Moscow", "Ukraine": "Kyiv", "Hungary": "Budapest",
    "Romania": "Bucharest", "Bulgaria": "Sofia", "Serbia": "Belgrade", "Croatia": "Zagreb",
    "the Czech Republic": "Prague", "Slovakia": "Bratislava", "Slovenia": "Ljubljana",
    "Iceland": "Reykjavik", "Egypt": "Cairo", "Kenya": "Nairobi", "Nigeria": "Abuja",
    "Morocco": "Rabat", "South Africa": "Pretoria", "Ethiopia": "Addis Ababa",
    "China": "Beijing", "Japan": "Tokyo", "South Korea": "Seoul", "India": "New Delhi",
    "Pakistan": "Islamabad", "Thailand": "Bangkok", "Vietnam": "Hanoi", "Indonesia": "Jakarta",
    "the Philippines": "Manila", "Iran": "Tehran", "Iraq": "Baghdad", "Israel": "Jerusalem",
    "Australia": "Canberra", "New Zealand": "Wellington", "Canada": "Ottawa",
    "the United States": "Washington", "the USA": "Washington", "Mexico": "Mexico City",
    "Cuba": "Havana", "Brazil": "Brasilia", "Argentina": "Buenos Aires", "Chile": "Santiago",
    "Peru": "Lima", "Colombia": "Bogota", "Ecuador": "Quito", "Uruguay": "Montevideo",
    "Venezuela": "Caracas", "Bolivia": "La Paz",
}  # fmt: skip

_CODE = "ABCDEFGHKLMNPQRSTUVXYZ0123456789"
_ONSETS = "b c d f g h j k l m n p r s t v w z br ch cl dr fl gr kr pl pr sh st th tr".split()
_VOWELS = "a e i o u ai ea ee ou oo".split()
_CODAS = ["", "", "", *"n r l s t m k nd rt sk".split()]


def made_up_word(rng: Random) -> str:
    """Return a pronounceable word of one to three syllables that is in no list."""
    return "".join(
        rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
        for _ in range(rng.choice((1, 2, 2, 2, 3)))
    )


def _free(word: str, split: Split) -> bool:
    return is_held_out_name(word) == (split == "test")


def a_name(rng: Random, split: Split) -> str:
    """Draw a person's name of ``split``; three in ten are made up, so that copying is learned."""
    while True:
        name = rng.choice(NAMES) if rng.random() < 0.7 else made_up_word(rng).capitalize()
        if _free(name, split):
            return name


def a_place(rng: Random, split: Split) -> str:
    """Draw a town of ``split``; three in ten are made up."""
    while True:
        place = rng.choice(PLACES) if rng.random() < 0.7 else made_up_word(rng).capitalize()
        if _free(place, split):
            return place


def a_word(rng: Random) -> str:
    """Draw any word, now and then made up, capitalised, a number or a code."""
    chance = rng.random()
    if chance < 0.74:
        return rng.choice(WORDS)
    if chance < 0.84:
        return made_up_word(rng)
    if chance < 0.91:
        return rng.choice(NAMES)
    if chance < 0.97:
        return str(rng.randrange(10 ** rng.randint(1, 4)))
    # A letter first, so that a code is never a number.
    first = rng.choice("ABCDEFGHKLMNPQRSTUVXYZ")
    return first + "".join(rng.choice(_CODE) for _ in range(rng.randint(1, 3)))


def a_phrase(rng: Random, most: int = 8) -> str:
    """Draw up to ``most`` words, sometimes written as a sentence."""
    words = [a_word(rng) for _ in range(min(rng.randint(1, most), rng.randint(1, most)))]
    text = " ".join(words)
    if len(words) > 3 and rng.random() < 0.2:
        cut = rng.randrange(1, len(words) - 1)
        text = " ".join(words[:cut]) + ", " + " ".join(words[cut:])
    if rng.random() < 0.35:
        text = text[0].upper() + text[1:] + rng.choice((".", "!", "?"))
    return text
