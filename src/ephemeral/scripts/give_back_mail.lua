-- Takes back a counted message that was not sent after all. Twin of `MailBook::give_back`.

local book = read_book(KEYS[1])
local counted = book and book.verdicts[ask.operation]
if not counted then return cjson.encode(false) end
for position, at in ipairs(book.sends) do
  if at == counted.at then
    table.remove(book.sends, position)
    break
  end
end
book.verdicts[ask.operation] = nil
write_book(KEYS[1], book, (book.sends[#book.sends] or now) + 86400000)
return cjson.encode(true)
