// Writes, reads and removes small files in the directory of its first argument, as often as its second says, in each of 8 threads.
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

class SmallFiles {
    static long work(Path file, int times) throws Exception {
        long characters = 0;
        for (int time = 0; time < times; time++) {
            Files.writeString(file, "line " + time + "\n");
            characters += Files.readString(file).length();
            Files.delete(file);
        }
        return characters;
    }

    public static void main(String[] arguments) throws Exception {
        int times = Integer.parseInt(arguments[1]);
        var threads = Executors.newFixedThreadPool(8);
        var results = new ArrayList<Future<Long>>();
        for (int thread = 0; thread < 8; thread++) {
            Path file = Path.of(arguments[0], "small" + thread);
            results.add(threads.submit(() -> work(file, times)));
        }
        threads.shutdown();
        for (var result : results)
            System.out.println(result.get());
    }
}
