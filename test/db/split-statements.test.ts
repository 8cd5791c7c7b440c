// Semicolons that end a statement, and those that do not.
import { expect, test } from 'vitest'
import { splitStatements } from '../../src/db/split-statements.ts'

test.each<[string, string, string[]]>([
  ['nothing', ' \n ; ;; -- none ; here\n /* nor ; here */ ', []],
  ['the last without a semicolon', 'select 1; select 2', ['select 1', 'select 2']],
  ['comments before a statement are left out', '-- a;\n/* b; /* c; */ d; */ -- e\nselect 1;', ['select 1']],
  ['comments inside stay', 'select 1, -- one;\n 2 /* two; */;', ['select 1, -- one;\n 2 /* two; */']],
  ['quotes', `select ';', ''';' as ";";select 2`, [`select ';', ''';' as ";"`, 'select 2']],
  ['doubled quotes', `select 'it''s; fine';select "a"";b"`, [`select 'it''s; fine'`, `select "a"";b"`]],
  ['a backslash is a character', String.raw`select '\';select 2`, [String.raw`select '\'`, 'select 2']],
  ['but not after E', String.raw`select E'\';', e'''\';';select 2`, [String.raw`select E'\';', e'''\';'`, 'select 2']],
  ['an E at the end of a word is none', String.raw`select type'\';select 2`, [String.raw`select type'\'`, 'select 2']],
  ['comment signs in quotes', `select '--', '/*' ; select 2`, [`select '--', '/*'`, 'select 2']],
  ['quotes in comments', `select 1 -- it's;\n; select 2`, [`select 1 -- it's;`, 'select 2']],
  ['dollar quotes', 'select $$;$$, $a$;$$;$a$; select $1;', ['select $$;$$, $a$;$$;$a$', 'select $1']],
  ['dollars in names', 'select a$b$ from c; select d$b$', ['select a$b$ from c', 'select d$b$']],
  ['an open quote takes the rest', `select 1; select 'a; b`, ['select 1', `select 'a`, 'b']],
])('%s', (_what, text, statements) => {
  expect(splitStatements(text)).toStrictEqual(statements)
})
