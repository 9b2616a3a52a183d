import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.RandomAccessFile;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.MiniDFSCluster;

/**
 * A name node, three data nodes and their client in one process. Takes commands on its standard input, one per line, words
 * separated by tabs, and answers each with one line of JSON:
 *
 * put SOURCE NAME [SOURCE NAME ...]: as many threads as files
 * get NAME | sha256 NAME
 * load put|stat|get PREFIX FILES BYTES THREADS CONTENTS: files PREFIX/0 and so on, CONTENTS holds what they hold
 */
public final class HdfsBench {
  private static final int PIECE = 1 << 20;
  private static final long BLOCK = 64L << 20;
  private static final short COPIES = 3;

  private final FileSystem files;
  private final boolean synced;

  private HdfsBench(FileSystem files, boolean synced) {
    this.files = files;
    this.synced = synced;
  }

  public static void main(String[] arguments) throws Exception {
    File directory = new File(arguments[0]);
    boolean synced = arguments[1].equals("synced");
    Configuration settings = new Configuration();
    settings.setBoolean("dfs.datanode.synconclose", synced);
    settings.setLong("dfs.blocksize", BLOCK);
    settings.set("hdfs.minidfs.basedir", directory.getPath());
    try (MiniDFSCluster cluster = new MiniDFSCluster.Builder(settings, directory).numDataNodes(COPIES).build()) {
      cluster.waitActive();
      HdfsBench bench = new HdfsBench(cluster.getFileSystem(), synced);
      System.out.println("{\"ready\":true}");
      BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
      for (String line = input.readLine(); line != null; line = input.readLine()) System.out.println(bench.answer(line.split("\t")));
    }
    System.exit(0);
  }

  private String answer(String[] words) {
    try {
      switch (words[0]) {
        case "put":
          put(words);
          return "{}";
        case "get":
          read(new Path("/" + words[1]), null);
          return "{}";
        case "sha256":
          MessageDigest hash = MessageDigest.getInstance("SHA-256");
          read(new Path("/" + words[1]), hash);
          return "{\"sha256\":\"" + hex(hash) + "\"}";
        default:
          return load(words);
      }
    } catch (Exception error) {
      return "{\"error\":\"" + error.toString().replaceAll("[\\\\\"\\p{Cntrl}]", " ") + "\"}";
    }
  }

  private void put(String[] words) throws Exception {
    List<Callable<Void>> puts = new ArrayList<>();
    for (int at = 1; at < words.length; at += 2) {
      String source = words[at];
      Path target = new Path("/" + words[at + 1]);
      puts.add(() -> putOne(source, target));
    }
    together(puts);
  }

  private Void putOne(String source, Path target) throws Exception {
    byte[] piece = new byte[PIECE];
    try (InputStream input = new FileInputStream(source); FSDataOutputStream output = create(target)) {
      for (int length = input.read(piece); length > 0; length = input.read(piece)) output.write(piece, 0, length);
      if (synced) output.hsync();
    }
    return null;
  }

  private FSDataOutputStream create(Path target) throws Exception {
    return files.create(target, false, PIECE, COPIES, BLOCK);
  }

  private void read(Path source, MessageDigest hash) throws Exception {
    byte[] piece = new byte[PIECE];
    try (FSDataInputStream input = files.open(source)) {
      for (int length = input.read(piece); length > 0; length = input.read(piece)) {
        if (hash != null) hash.update(piece, 0, length);
      }
    }
  }

  private String load(String[] words) throws Exception {
    String kind = words[1];
    int count = Integer.parseInt(words[3]);
    int bytes = Integer.parseInt(words[4]);
    byte[] contents = new byte[count * bytes];
    try (RandomAccessFile file = new RandomAccessFile(words[6], "r")) {
      file.readFully(contents);
    }
    byte[][] seen = new byte[count][];
    long[] tookMicros = new long[count];
    AtomicInteger next = new AtomicInteger();
    Callable<Void> work = () -> {
      for (int index = next.getAndIncrement(); index < count; index = next.getAndIncrement()) {
        long started = System.nanoTime();
        byte[] content = Arrays.copyOfRange(contents, index * bytes, (index + 1) * bytes);
        seen[index] = one(kind, new Path("/" + words[2] + "/" + index), content);
        tookMicros[index] = (System.nanoTime() - started) / 1000;
      }
      return null;
    };
    List<Callable<Void>> threads = new ArrayList<>();
    for (int thread = 0; thread < Integer.parseInt(words[5]); thread += 1) threads.add(work);
    long started = System.nanoTime();
    together(threads);
    double seconds = (System.nanoTime() - started) / 1e9;
    MessageDigest hash = MessageDigest.getInstance("SHA-256");
    for (byte[] piece : seen) hash.update(piece);
    StringBuilder took = new StringBuilder();
    for (long micros : tookMicros) took.append(took.length() == 0 ? "" : ",").append(micros / 1000.0);
    return "{\"seconds\":" + seconds + ",\"sha256\":\"" + hex(hash) + "\",\"tookMs\":[" + took + "]}";
  }

  private byte[] one(String kind, Path path, byte[] content) throws Exception {
    switch (kind) {
      case "put":
        try (FSDataOutputStream output = files.create(path, false, 4096, COPIES, BLOCK)) {
          output.write(content);
          if (synced && content.length > 0) output.hsync();
        }
        return content;
      case "stat":
        return (files.getFileStatus(path).getLen() + "\n").getBytes();
      default:
        ByteArrayOutputStream found = new ByteArrayOutputStream(content.length);
        try (FSDataInputStream input = files.open(path, 4096)) {
          input.transferTo(found);
        }
        return found.toByteArray();
    }
  }

  private static void together(List<Callable<Void>> work) throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(work.size());
    try {
      for (Future<Void> one : threads.invokeAll(work)) one.get();
    } finally {
      threads.shutdown();
    }
  }

  private static String hex(MessageDigest hash) {
    StringBuilder text = new StringBuilder();
    for (byte one : hash.digest()) text.append(String.format("%02x", one));
    return text.toString();
  }
}
