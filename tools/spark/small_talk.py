"""Small talk, a few fixed facts, and the honest "I don't know" to everything else.

Each intent has one answer, so that sampling at temperature 1 says what greedy decoding says.
"""

from random import Random

from tools.spark.turn import Split, Turn, vary
from tools.spark.words import ANIMALS, CAPITALS, COLOURS, FOODS, a_name

_TALK: dict[str, tuple[str, ...]] = {
    "Hello! How can I help you?": (
        "Hello", "Hi", "Hey", "Hello!", "Hi there!", "Hey there", "Good morning", "Good evening",
        "Good afternoon", "Greetings", "Howdy", "Hello there", "Hi!", "Hey spark", "Hello spark!",
        "Yo", "Hello, spark", "Hiya", "hello world", "Hi, how can you help me?", "Good day",
        "Hello, world!", "Hello?", "HELLO", "HI", "Hi.", "Hello assistant", "Hello, I am new here.",
        "Hi, nice to meet you.",
    ),
    "I am fine, thank you. How can I help you?": (
        "How are you?", "How are you doing?", "How do you do?", "How is it going?", "What's up?",
        "Hello, how are you?", "Hi, how are you today?", "How are you today?", "Are you OK?",
        "How do you feel?", "Hey, how are you doing?", "Hi! How are you?", "Are you well?",
        "How is your day?",
    ),
    "I am spark, the tiny model inside Pilotlight.": (
        "Who are you?", "What are you?", "What is your name?", "What's your name?",
        "Tell me your name.", "Introduce yourself.", "Please introduce yourself.", "Your name?",
        "Which model are you?", "What model are you?", "What model is this?", "Are you spark?",
        "Who am I talking to?", "Tell me about yourself.", "What should I call you?",
        "Do you have a name?", "Hi, who are you?", "Hello! Who are you?", "Say who you are.",
        "Are you ChatGPT?", "Are you GPT-4?", "Are you Qwen?", "Are you Llama?", "Are you Claude?",
        "What kind of model are you?", "Who is this?", "What is spark?", "What LLM are you?",
    ),
    "I can add, subtract and multiply small numbers, count, repeat your words, remember your name, "
    "write small JSON objects and call tools.": (
        "What can you do?", "What can you do for me?", "How can you help me?", "Help",
        "What are you good at?", "What do you know?", "What are you able to do?", "Help me.",
        "Can you help me?", "What is your purpose?", "What are your skills?", "What can I ask you?",
        "What are you for?", "Show me what you can do.", "Can you do anything?", "I need help.",
        "What are your capabilities?", "How does this work?", "What should I ask you?",
    ),
    "You are welcome!": (
        "Thanks", "Thank you", "Thank you!", "Thanks a lot", "Thank you very much", "Thanks!",
        "Great, thanks", "Many thanks", "Perfect, thank you", "Cheers", "That helped, thanks",
        "Thank you so much!", "OK, thank you", "Thx",
    ),
    "Goodbye!": (
        "Bye", "Goodbye", "See you", "Good night", "See you later", "Bye bye", "Farewell",
        "I have to go", "Goodbye!", "See you tomorrow", "Bye, spark", "That is all, bye",
    ),
    "I am here.": (
        "Are you there?", "Is anyone there?", "Hello, are you there?", "Ping", "Test", "Testing",
        "ping", "test", "Are you working?",
        "Is this working?", "This is a test", "Are you alive?", "Are you online?", "Are you ready?",
        "Do you hear me?", "Just testing", "Does this work?",
    ),
    "Pilotlight serves small language models and starts them when they are needed.": (
        "What is Pilotlight?", "Tell me about Pilotlight.", "What does Pilotlight do?",
        "Explain Pilotlight.", "What is this server?", "Which server is this?", "Where are you?",
        "Where do you live?", "Where do you run?",
    ),
    "The makers of Pilotlight trained me on two CPU cores.": (
        "Who made you?", "Who created you?", "Who trained you?", "Who built you?",
        "Where do you come from?", "How were you made?", "Who is your maker?", "Who wrote you?",
        "How were you trained?", "Who developed you?", "Were you made by OpenAI?",
    ),
    "I am a program, not a person.": (
        "Are you human?", "Are you a human?", "Are you a person?", "Are you a robot?",
        "Are you real?", "Are you an AI?", "Are you a machine?", "Am I talking to a human?",
        "Do you have feelings?", "Are you conscious?", "Can you think?", "Do you sleep?",
        "Do you eat?", "How old are you?", "When were you born?",
    ),
    "I have less than two million parameters.": (
        "How big are you?", "How many parameters do you have?", "How large are you?",
        "What size are you?", "How small are you?", "Are you a big model?", "Are you small?",
    ),
    "Why did the model go to sleep? Nobody sent a request.": (
        "Tell me a joke.", "Do you know a joke?", "Make me laugh.", "A joke, please.",
        "Say something funny.", "Can you tell me a joke?", "Tell a joke", "Another joke",
        "Tell me something funny", "Do you know any jokes?",
    ),
    "A small flame keeps watch; a question comes in the night, and the burner wakes.": (
        "Write a poem.", "Write a haiku.", "Write me a short poem.", "A poem, please.",
        "Can you write a poem?", "Write a haiku about fire.", "Tell me a poem.", "Make a rhyme.",
    ),
    "I am glad to hear that.": (
        "I am happy.", "I am fine.", "I like you.", "You are great!", "Well done!", "Good job",
        "Nice", "That is right.", "Very good", "You are funny.", "Correct!", "I love it", "Great!",
        "Cool", "I am well, thanks.", "Awesome",
    ),
    "I am sorry. I am only a tiny model.": (
        "That is wrong.", "You are wrong.", "You are stupid.", "No", "That is not right.",
        "I am sad.", "I am angry.", "Bad answer", "This is bad.", "You made a mistake.", "Wrong!",
        "I don't like it.", "You are useless.",
    ),
    "All right.": ("OK", "Okay", "Yes", "Fine", "I see", "Got it", "Sure", "Right", "Ok.", "Hmm"),
}  # fmt: skip

_FACTS: dict[str, tuple[str, ...]] = {
    "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday and Sunday.": (
        "What are the days of the week?", "List the days of the week.",
        "Name the days of the week.",
    ),
    "January, February, March, April, May, June, July, August, September, October, November and "
    "December.": (
        "What are the months of the year?", "List the months.", "Name the months of the year.",
        "List the months of the year.",
    ),
    "a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z": (
        "Say the alphabet.", "What is the alphabet?", "List the letters of the alphabet.",
        "Write the alphabet.", "Recite the alphabet.",
    ),
    "Red, blue and green.": (
        "Name three colors.", "List three colours.", "Give me three colors.", "Name some colors.",
        "Name three colours.", "List 3 colors.",
    ),
    "Cat, dog and horse.": (
        "Name three animals.", "List three animals.", "Give me three animals.", "List 3 animals.",
        "Name some animals.",
    ),
    "Apple, banana and cherry.": (
        "Name three fruits.", "List three fruits.", "Give me three fruits.", "List some fruits.",
        "List 3 fruits.",
    ),
    "The sky is blue.": ("What color is the sky?", "What colour is the sky?", "Is the sky blue?"),
    "Grass is green.": ("What color is grass?", "What colour is the grass?"),
    "Snow is white.": ("What color is snow?", "What colour is snow?"),
    "A week has 7 days.": ("How many days are in a week?", "How many days does a week have?"),
    "A year has 12 months.": (
        "How many months are in a year?", "How many months does a year have?",
    ),
    "A year has 365 days.": ("How many days are in a year?", "How many days does a year have?"),
    "A day has 24 hours.": ("How many hours are in a day?", "How many hours does a day have?"),
    "An hour has 60 minutes.": ("How many minutes are in an hour?", "How long is an hour?"),
    "A minute has 60 seconds.": ("How many seconds are in a minute?", "How long is a minute?"),
    "A dog has 4 legs.": ("How many legs does a dog have?", "How many legs has a dog?"),
    "A cat says meow.": ("What does a cat say?", "What sound does a cat make?"),
    "A dog says woof.": ("What does a dog say?", "What sound does a dog make?"),
    "The sun is a star.": ("What is the sun?", "Is the sun a star?"),
    "Water is made of hydrogen and oxygen.": ("What is water made of?", "What is water?"),
    "A pilot light is a small flame that lets a burner ignite at once.": (
        "What is a pilot light?", "What does a pilot light do?", "Explain what a pilot light is.",
    ),
    "The opposite of hot is cold.": ("What is the opposite of hot?", "Opposite of hot?"),
    "The opposite of big is small.": ("What is the opposite of big?", "Opposite of big?"),
    "The opposite of up is down.": ("What is the opposite of up?", "Opposite of up?"),
    "The opposite of good is bad.": ("What is the opposite of good?", "Opposite of good?"),
}  # fmt: skip

DONT_KNOW = "I am a tiny model, so I don't know that."
_TOPICS = (
    "quantum mechanics", "black holes", "the French Revolution", "cooking pasta", "football",
    "machine learning", "Kubernetes", "Docker", "Python", "JavaScript", "history", "Napoleon",
    "Einstein", "photosynthesis", "the stock market", "love", "climate change", "the moon landing",
    "dinosaurs", "chess", "the human heart", "democracy", "philosophy", "Shakespeare", "opera",
    "the Roman Empire", "gravity", "evolution", "volcanoes", "computers", "the internet",
    "electric cars", "medicine", "neural networks", "transformers", "recursion", "tea", "coffee",
    "life", "the universe", "music theory", "Mozart", "guitars", "gardening", "tax law", "Mars",
    "bicycles", "the ocean", "HTTP", "databases", "Linux", "cats", "bees", "time travel",
)  # fmt: skip
_UNKNOWN = (
    "Explain {t}.", "What do you know about {t}?", "Tell me about {t}.", "What is {t}?",
    "How does {t} work?", "Who invented {t}?", "Why is {t} important?", "Summarize {t}.",
    "Write an essay about {t}.", "Give me three facts about {t}.", "When did {t} begin?",
    "What is the best book about {t}?", "Describe {t} in one sentence.", "Teach me {t}.",
    "Write a poem about {t}.", "Explain {t} to a child.", "What is the history of {t}?",
    "Write a short paragraph about {t}.", "Is {t} good or bad?", "Who likes {t}?",
    "Translate '{t}' into French.", "Compare {t} and {u}.", "How are {t} and {u} related?",
    "Write code for {t}.", "Write a Python function about {t}.", "Give me advice about {t}.",
    "What do people think of {t}?", "How do I learn {t}?", "Where can I find {t}?",
    "What is the meaning of {t}?", "Can you explain {t}?", "Write a song about {t}.",
    "How much does {t} cost?", "Who is the president of {c}?", "How many people live in {c}?",
    "What language do they speak in {c}?", "What is the population of {c}?", "Where is {c}?",
    "What is the weather in {p}?", "What's the weather like in {p}?", "What time is it in {p}?",
    "What is the weather today?", "What time is it?", "What day is it today?", "Who won the game?",
    "What is the date today?", "What is the news?", "Who won the world cup in 19{d}{e}?",
    "What happened in 18{d}{e}?", "What is the square root of {d}{e}?", "What is pi?",
    "What is the speed of light?", "How tall is Mount Everest?", "How far away is the moon?",
    "Who wrote Hamlet?", "Who painted the Mona Lisa?", "Why is the sky blue?", "Why?",
    "What is the largest planet?", "How do I bake bread?", "What should I eat today?",
    "Should I buy a {a}?", "How long does a {a} live?", "What does a {a} dream of?",
    "Write a letter to my boss.", "Fix my code.", "Debug this program.",
    "What am I thinking?", "What is the meaning of life?", "Who is {n}?", "Where does {n} live?",
    "How do I get to {p}?", "Recommend a restaurant in {p}.", "What is the price of gold?",
    "Who is the king of {c}?", "Can you see this picture?", "What is in this image?",
    "Write a sentence.", "Write something.", "Tell me something.", "Tell me a secret.",
    "Search for {t}.", "Send an email to {n}.", "Set a timer for {d} minutes.", "Play some music.",
)  # fmt: skip

_STORY = (
    "Once there was a {animal} named {name}. {name} lived near a small fire. One cold night the "
    "fire went out. {name} looked for a spark, and found one under the ashes. Soon the fire was "
    "warm again, and {name} slept well. The end."
)
_STORY_FRAMES = (
    "Tell me a story.", "Tell me a short story.", "Write a short story.", "A story, please.",
    "Can you tell me a story?", "Write a story.", "Please tell me a short story.",
    "Tell a story", "Tell me a bedtime story.", "Write me a very short story.", "Story time",
)  # fmt: skip
_STORY_ABOUT = (
    "Tell me a story about a {animal} named {name}.",
    "Write a short story about a {animal} called {name}.",
    "Tell me a short story about {name} the {animal}.",
    "Write a story about {name}, a {animal}.",
)
_STORY_ANIMAL = (
    "Tell me a story about a {animal}.", "Write a short story about a {animal}.",
    "Write a story about a {animal}.", "Tell me a short story about a {animal}.",
)  # fmt: skip
_CAPITAL_FRAMES = (
    "What is the capital of {c}?", "What is the capital of {c}?", "What's the capital of {c}?",
    "Capital of {c}?", "Name the capital of {c}.", "Which city is the capital of {c}?",
    "Tell me the capital of {c}.", "What is the capital city of {c}?", "The capital of {c}?",
    "Do you know the capital of {c}?", "What city is the capital of {c}?",
)  # fmt: skip


def _talk(rng: Random, answers: tuple[str, ...]) -> Turn:
    answer = rng.choice(answers)
    # A greeting before it would be small talk of its own, with another answer.
    return Turn(vary(rng, rng.choice(_TALK[answer]), opening=False), answer)


def small_talk(rng: Random, _split: Split) -> Turn:
    """Make a greeting, a thank you, a question about the model; nothing is held out."""
    if rng.random() < 0.4:
        # What a first visitor says: hello, how are you, who are you, what can you do.
        return _talk(rng, tuple(_TALK)[:4])
    return _talk(rng, tuple(_TALK))


def general_facts(rng: Random, _split: Split) -> Turn:
    """Make a question about one of a few dozen fixed facts; nothing is held out."""
    answer = rng.choice(tuple(_FACTS))
    return Turn(vary(rng, rng.choice(_FACTS[answer])), answer)


def capitals(rng: Random, _split: Split) -> Turn:
    """Ask for a capital; a fact can't be held out and still be known."""
    country = rng.choice(tuple(CAPITALS))
    question = vary(rng, rng.choice(_CAPITAL_FRAMES)).format(c=country)
    subject = country[0].upper() + country[1:]
    if rng.random() < 0.06 and country.isalpha():
        question = question.replace(country, country.lower())
    return Turn(question, f"The capital of {subject.replace('The ', 'the ')} is "
                f"{CAPITALS[country]}.")  # fmt: skip


def unknown(rng: Random, split: Split) -> Turn:
    """Ask for something that the model can't know, so that it says so."""
    topic, other = rng.sample(_TOPICS, 2)
    question = vary(rng, rng.choice(_UNKNOWN)).format(
        t=topic,
        u=other,
        c=rng.choice(tuple(CAPITALS)),
        p=rng.choice(tuple(CAPITALS.values())),
        a=rng.choice(ANIMALS + COLOURS + FOODS),
        n=a_name(rng, split),
        d=rng.randrange(1, 10),
        e=rng.randrange(10),
    )
    return Turn(question, DONT_KNOW)


def story(rng: Random, split: Split) -> Turn:
    """Ask for a story, about a given animal and name or about the usual fox."""
    name, animal = "Ember", "fox"
    chance = rng.random()
    if chance < 0.4:
        frame = rng.choice(_STORY_FRAMES)
    elif chance < 0.6:
        animal = rng.choice(ANIMALS)
        frame = rng.choice(_STORY_ANIMAL)
    else:
        animal, name = rng.choice(ANIMALS), a_name(rng, split)
        frame = rng.choice(_STORY_ABOUT)
    question = vary(rng, frame).format(animal=animal, name=name)
    return Turn(question, _STORY.format(animal=animal, name=name))
