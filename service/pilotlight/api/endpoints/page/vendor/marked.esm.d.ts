/** The part of marked's types that the page uses. */
export interface CodeToken {
  text: string;
  lang?: string;
}
export class Marked {
  constructor(options: {
    gfm?: boolean;
    breaks?: boolean;
    renderer?: { code?: (token: CodeToken) => string; html?: (token: { text: string }) => string };
  });
  parse(markdown: string, options: { async: false }): string;
}
