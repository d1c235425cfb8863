// Runs cases one after another in one process: to start Node with its packages takes longer than a
// case. A line of the input is `[NAME, BASE_URL, ...ARGUMENTS]`; one of the output is `{"value"}`,
// what the case returned, or `{"thrown"}`.

import { createInterface } from "node:readline";

type Run = (name: string, baseUrl: string, ...given: unknown[]) => Promise<unknown>;

export async function serve(run: Run): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const [name, baseUrl, ...given] = JSON.parse(line) as [string, string, ...unknown[]];
    let outcome: { value: unknown } | { thrown: string };
    try {
      outcome = { value: await run(name, baseUrl, ...given) };
    } catch (error) {
      outcome = { thrown: error instanceof Error ? (error.stack ?? error.message) : String(error) };
    }
    console.log(JSON.stringify(outcome));
  }
}
