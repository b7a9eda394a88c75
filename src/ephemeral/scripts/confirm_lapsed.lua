-- Storage has what leases that ran out led to, up to a version. Twin of `AttemptBook::confirm_lapsed`.

local book = open_book()
if not book then return cjson.encode(false) end
for lane, moved in pairs(book.lapsed) do
  if moved <= ask.version then
    book.lapsed[lane] = nil
    changed = true
  end
end
return answer(book, true)
