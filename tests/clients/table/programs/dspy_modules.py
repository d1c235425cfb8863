"""DSPy: a predictor, chain of thought, and an agent, through LiteLLM."""

import dspy
from cases import KEY, MODEL, PERSON, URL, case, expect, main


def lm():
    return dspy.LM(f"openai/{MODEL}", api_base=f"{URL}/v1", api_key=KEY, cache=False)


@case("LM")
def plain():
    (answer,) = lm()("hi")
    expect(answer, "Hello there.")


@case("Predict with JSONAdapter")
def predict():
    with dspy.context(lm=lm(), adapter=dspy.JSONAdapter()):
        answer = dspy.Predict("question -> name: str, age: int")(question=PERSON)
    expect((answer.name, answer.age), ("Ada", 36))


if __name__ == "__main__":
    main()
